"""Moves the records of a closed partition into blocks, some thousand in a transaction.

One statement deletes records and returns them as columns; their blocks are inserted in the same transaction. So every
snapshot sees each record once, in its row or in its block, and whoever dies in between has changed nothing. What was
not reached is packed the next time, as is what came late: the partition stays attached.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import AsyncConnection as PsycopgConnection
from psycopg import errors as pg
from sqlalchemy import func, insert, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.columns import TELEMETRY_TABLES
from storage.dberrors import translate
from storage.models import packed_blocks
from storage.packing.arrays import packed_names
from storage.packing.block import make
from storage.packing.codec import split
from storage.packing.facts import block_row
from storage.packing.needs import TRANSACTION
from storage.packing.removal import unpack_some
from storage.partitions import Partition, list_partitions

BLOCK_RECORDS_MAX = 512
"""Records of one block: twice as many save 5 % of the bytes, and a question for one record unpacks them all."""
BLOCK_BYTES_MAX = 1024 * 1024
"""Bytes of values of one block, but for its last record: what one block costs a reader in memory."""
_STEP_RECORDS_MAX = 8_192
_STEP_BYTES_MAX = 16 * BLOCK_BYTES_MAX
# Packed records have ended this long ago at least: questions about the last hours need not look for blocks
# (``needs.RECENT_S`` is less, by what clocks may differ).
AGE_MIN = timedelta(hours=6)
_VARIABLE = {"text": "octet_length({})", "jsonb": "octet_length({}::text)", "bytea": "octet_length({})"}
_COMPONENTS = "SELECT DISTINCT component FROM {partition} ORDER BY component"
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '50ms'"


@dataclass(frozen=True, slots=True)
class Packed:
    """What packing a partition did: records moved, the blocks they became, and the bytes before and after."""

    table: str
    partition: str
    records: int
    blocks: int
    bytes_before: int
    bytes_after: int


def _step(table: str, partition: str) -> str:
    """Return the statement that takes the next records of a component out of a partition, as blocks to be."""
    spec = next(t for t in TELEMETRY_TABLES if t.name == table)
    sizes = [_VARIABLE[c.type].format(c.name) for c in spec.columns if c.type in _VARIABLE]
    size = " + ".join(f"coalesce({s}, 0)" for s in sizes)
    arrays = ", ".join(f"array_agg({name} ORDER BY time, id) AS {name}" for name in packed_names(table))
    return f"""
WITH next AS (
  SELECT time, id, {size} AS size FROM {partition}
  WHERE component = %(component)s AND (time, id) > (%(time)s::timestamptz, %(id)s)
  ORDER BY time, id LIMIT {_STEP_RECORDS_MAX}
),
counted AS (
  SELECT time, id, size,
         sum(size) OVER (ORDER BY time, id) AS so_far, row_number() OVER (ORDER BY time, id) - 1 AS place
  FROM next
),
gone AS (
  DELETE FROM {partition} p USING counted c
  WHERE p.time = c.time AND p.id = c.id AND c.so_far - c.size < {_STEP_BYTES_MAX}
  RETURNING p.*, p.xmin::text::bigint AS {TRANSACTION},
            c.place / {BLOCK_RECORDS_MAX} AS by_number, (c.so_far - c.size) / {BLOCK_BYTES_MAX} AS by_size
)
SELECT {arrays}
FROM gone GROUP BY by_number, by_size ORDER BY by_number, by_size
"""  # noqa: S608 - names of ours


async def pack_partition(engine: AsyncEngine, partition: Partition) -> Packed:
    """Pack all records of a partition, and give its space back. ``engine``: of the owner. Raises StoreError."""
    try:
        blocks = records = packed_bytes = 0
        async with engine.connect() as connection:
            components = (await connection.execute(text(_COMPONENTS.format(partition=partition.name)))).scalars().all()
        for component in components:
            async for made in _steps(engine, partition, component):
                blocks += len(made)
                records += sum(row["records"] for row in made)
                packed_bytes += sum(len(row["data"]) for row in made)
        await release_space(engine, partition.name)
        async with engine.connect() as connection:
            size = text("SELECT pg_total_relation_size(to_regclass(:name))")
            left = (await connection.execute(size, {"name": partition.name})).scalar_one() or 0
    except (psycopg.Error, SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    return Packed(partition.table, partition.name, records, blocks, partition.bytes, left + packed_bytes)


async def _steps(engine: AsyncEngine, partition: Partition, component: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Pack the records of one component, a transaction a step; yield the blocks of each."""
    place: tuple[datetime, int] = (partition.since - timedelta(microseconds=1), 0)
    while True:
        async with engine.begin() as connection:
            made, place = await _step_after(connection, partition, component, place)
            if made:
                await connection.execute(insert(packed_blocks), made)
        if not made:
            return
        yield made


async def _step_after(
    connection: AsyncConnection, partition: Partition, component: str, place: tuple[datetime, int]
) -> tuple[list[dict[str, Any]], tuple[datetime, int]]:
    """Take the next records behind ``place`` out; return their blocks and where they end."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, PsycopgConnection)  # noqa: S101 - the engine is made for psycopg alone
    columns = packed_names(partition.table)
    made = []
    async with driver.cursor(binary=True) as cursor:
        values = {"component": component, "time": place[0], "id": place[1]}
        await cursor.execute(_step(partition.table, partition.name).encode(), values)
        result = cursor.pgresult
        assert result is not None  # noqa: S101 - a SELECT has a result
        for row in range(result.ntuples):
            # As they came: what a loader would make of some million values is not wanted.
            arrays = {name: bytes(result.get_value(row, n) or b"") for n, name in enumerate(columns)}
            made.append(await asyncio.to_thread(_row, partition.table, component, arrays))
    if made:
        place = made[-1]["last_time"], _last_id(arrays)
    return made, place


def _row(table: str, component: str, arrays: dict[str, bytes]) -> dict[str, Any]:
    return block_row(table, component, arrays, make(arrays))


def _last_id(arrays: dict[str, bytes]) -> int:
    """Return the id of the last record of a block."""
    return int.from_bytes(split(arrays["id"])[-1][4:], "big", signed=True)


async def unpack_partition(engine: AsyncEngine, partition: Partition) -> int:
    """Make rows again of all packed records of a partition; return how many. Raises StoreError."""
    total = 0
    try:
        while True:
            async with engine.begin() as connection:
                records = await unpack_some(connection, partition.table, partition.since, partition.until)
            if not records:
                return total
            total += records
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def release_space(engine: AsyncEngine, partition: str) -> bool:
    """Give the space of a partition that is empty back; return whether it was done.

    VACUUM removes rows that no snapshot sees any more; only when none is left, whoever may look, the files are made
    anew (TRUNCATE is not of the snapshots). Who is in the way keeps it for another time: nobody waits for 50 ms.
    """
    async with engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(text("SET statement_timeout = 0"))
        try:
            await plain.execute(text(f"VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON, ANALYZE) {partition}"))
        finally:
            await plain.execute(text("RESET statement_timeout"))
    try:
        async with engine.begin() as connection:
            await connection.execute(text(_LOCK_TIMEOUT))
            await connection.execute(text(f"LOCK TABLE {partition} IN ACCESS EXCLUSIVE MODE"))
            size = text("SELECT pg_relation_size(to_regclass(:name))")
            empty = (await connection.execute(size, {"name": partition})).scalar_one() == 0
            if empty:
                await connection.execute(text(f"TRUNCATE {partition}"))
    except DBAPIError as error:
        if not isinstance(error.orig, pg.LockNotAvailable):
            raise
        return False
    return bool(empty)


async def to_pack(engine: AsyncEngine, before: datetime, tables: Sequence[str]) -> list[Partition]:
    """Return the partitions with records that ended before ``before`` and ``AGE_MIN`` ago. Raises StoreError."""
    partitions = [p for p in await list_partitions(engine) if p.table in tables and p.until <= before]
    try:
        async with engine.connect() as connection:
            now = (await connection.execute(func.clock_timestamp().select())).scalar_one()
            return [p for p in partitions if p.until <= now - AGE_MIN and await has_rows(connection, p.name)]
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def has_rows(connection: AsyncConnection, partition: str) -> bool:
    """Whether a partition has rows that are not packed. Raises SQLAlchemyError."""
    return bool((await connection.execute(text(f"SELECT EXISTS (SELECT 1 FROM {partition})"))).scalar_one())  # noqa: S608
