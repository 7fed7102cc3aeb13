"""What became of each partition: open, closed or packed, with its records and bytes in rows and in blocks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.dberrors import translate
from storage.models import packed_blocks
from storage.partitions import Partition, list_partitions

State = Literal["open", "closed", "packed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One partition. ``rows``: an estimate of those that are not packed; ``bytes``: with indexes and blocks."""

    table: str
    name: str
    since: datetime
    until: datetime
    state: State
    rows: int
    packed_records: int
    bytes: int


async def partition_states(engine: AsyncEngine, now: datetime) -> list[PartitionState]:
    """Return all partitions, by table and day. Raises StoreError."""
    try:
        partitions = await list_partitions(engine)
        async with engine.connect() as connection:
            packed = await _packed(connection)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    return [_state(p, *_of(p, packed), now) for p in partitions]


def _of(partition: Partition, packed: Mapping[tuple[str, datetime], tuple[int, int]]) -> tuple[int, int]:
    """Return records and bytes of a partition; no block reaches beyond one."""
    own = [
        sizes
        for (table, hour), sizes in packed.items()
        if table == partition.table and partition.since <= hour < partition.until
    ]
    return sum(records for records, _ in own), sum(size for _, size in own)


async def _packed(connection: AsyncConnection) -> dict[tuple[str, datetime], tuple[int, int]]:
    """Return records and bytes in blocks by table and the hour they begin in, the shortest period of partitions."""
    found = packed_blocks.c
    day = func.date_trunc("hour", found.first_time, "UTC")
    size = func.sum(func.pg_column_size(found.data) + func.pg_column_size(found.trace_hashes))
    statement = select(found.table_name, day.label("day"), func.sum(found.records).label("n"), size.label("size"))
    rows = await connection.execute(statement.group_by(found.table_name, day))
    return {(row.table_name, row.day): (int(row.n), int(row.size)) for row in rows}


def _state(partition: Partition, records: int, size: int, now: datetime) -> PartitionState:
    state: State = "packed" if records else "open" if partition.until > now else "closed"
    return PartitionState(
        table=partition.table,
        name=partition.name,
        since=partition.since,
        until=partition.until,
        state=state,
        rows=partition.rows,
        packed_records=records,
        bytes=partition.bytes + size,
    )
