"""What became of each partition: open, closed, packed or cold, with its records and bytes in each form."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.dberrors import translate
from storage.models import cold_chunks, cold_files, packed_blocks
from storage.partitions import Partition, list_partitions

State = Literal["open", "closed", "packed", "cold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One partition. ``rows``: an estimate of those that are rows; ``bytes``: with indexes and blocks.

    ``cold_bytes``: of its files, which are not in PostgreSQL.
    """

    table: str
    name: str
    since: datetime
    until: datetime
    state: State
    rows: int
    packed_records: int
    bytes: int
    cold_records: int = 0
    cold_bytes: int = 0


async def partition_states(engine: AsyncEngine, now: datetime) -> list[PartitionState]:
    """Return all partitions, by table and day. Raises StoreError."""
    try:
        partitions = await list_partitions(engine)
        async with engine.connect() as connection:
            packed, cold = await _packed(connection), await _cold(connection)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    return [_state(p, *_of(p, packed), *_of(p, cold), now) for p in partitions]


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


async def _cold(connection: AsyncConnection) -> dict[tuple[str, datetime], tuple[int, int]]:
    """Return records and bytes in files by table and the beginning of their partition."""
    files, chunks = cold_files.c, cold_chunks.c
    left = select(chunks.file_id, func.sum(chunks.records).label("n")).group_by(chunks.file_id).subquery()
    statement = select(
        files.table_name, files.since, func.sum(left.c.n).label("n"), func.sum(files.bytes).label("size")
    )
    joined = statement.join_from(cold_files, left, left.c.file_id == files.id)
    rows = await connection.execute(joined.group_by(files.table_name, files.since))
    return {(row.table_name, row.since): (int(row.n), int(row.size)) for row in rows}


def _state(
    partition: Partition, records: int, size: int, cold_records: int, cold_size: int, now: datetime
) -> PartitionState:
    state: State = "packed" if records else "open" if partition.until > now else "closed"
    return PartitionState(
        table=partition.table,
        name=partition.name,
        since=partition.since,
        until=partition.until,
        state="cold" if cold_records else state,
        rows=partition.rows,
        packed_records=records,
        bytes=partition.bytes + size,
        cold_records=cold_records,
        cold_bytes=cold_size,
    )
