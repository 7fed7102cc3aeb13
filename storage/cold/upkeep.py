"""What becomes of cold files over time: which partitions go cold, which files are written anew, and which are removed.

One at a time does it, whoever has the owner's URL: an advisory lock says who. Only files that the store itself noted
are ever removed, never what else lies at the location.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import lock_keys
from storage.cold.freezing import Frozen, freeze_partition
from storage.cold.location import location, module
from storage.cold.thawing import thaw_file
from storage.dberrors import translate
from storage.errors import PermanentStoreError, RetryableStoreError
from storage.models import cold_chunks, cold_files, packed_blocks
from storage.packing.packer import AGE_MIN, has_rows
from storage.partitions import Partition, list_partitions

FILES_MAX = 8
"""Files of one partition: more are made one, so that late records do not leave a heap of small ones."""
_LOOKED_FOR = 5
GATHERED = timedelta(days=1)
"""By itself a partition that is cold goes cold again, for what came late, when its newest file is so old."""


@dataclass(frozen=True, slots=True)
class _Files:
    """The live files of a partition: their ids, how many lost records, when the newest was written."""

    ids: Sequence[int]
    damaged: Sequence[int]
    newest: datetime | None


@asynccontextmanager
async def _turn(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold the turn at cold files. Raises RetryableStoreError where another has it."""
    async with engine.connect() as raw:
        connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
        taken = await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": lock_keys.COLD})
        if not taken.scalar_one():
            raise RetryableStoreError("another process moves cold files at this moment")
        try:
            yield
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": lock_keys.COLD})


async def to_freeze(
    engine: AsyncEngine, before: datetime, tables: Sequence[str], *, by_itself: bool = False
) -> list[Partition]:
    """Return the partitions that ended before ``before`` and have records to move into files. Raises StoreError.

    ``by_itself``: records that came late for one that is cold already wait until there are some; files that lost
    records are written anew whatever their day is.
    """
    partitions = [p for p in await list_partitions(engine) if p.table in tables and (by_itself or p.until <= before)]
    found = []
    try:
        async with engine.connect() as connection:
            now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            for partition in partitions:
                files = await _files(connection, partition)
                waits = by_itself and files.newest is not None and now - files.newest < GATHERED
                due = files.damaged or (
                    partition.until <= before and not waits and await _is_hot(connection, partition)
                )
                if due and partition.until <= now - AGE_MIN:
                    found.append(partition)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    return found


async def freeze(engine: AsyncEngine, url: str, partitions: Sequence[Partition]) -> AsyncIterator[Frozen]:
    """Move the records of partitions into files, one after the other, and remove files of nobody. Raises StoreError.

    ``engine``: of the owner, whose ``cold_url`` is ``url``.
    """
    try:
        async with _turn(engine):
            await _is_the_place(engine, url)
            await _sweep(engine, url)
            for partition in partitions:
                await _gather(engine, partition)
                yield await freeze_partition(engine, url, partition)
                await _sweep(engine, url)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def thaw(engine: AsyncEngine, url: str, partition: Partition) -> int:
    """Make packed records again of all cold ones of a partition; return how many. Raises StoreError."""
    total = 0
    try:
        async with engine.connect() as connection:
            files = await _files(connection, partition)
        if not files.ids:
            return 0
        async with _turn(engine):
            for identifier in files.ids:
                total += await thaw_file(engine, identifier, partition.table)
            await _sweep(engine, url)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    return total


async def sweep(engine: AsyncEngine, url: str) -> int:
    """Remove the files whose records are gone, or that were never finished; return how many. Raises StoreError."""
    try:
        async with _turn(engine):
            return await _sweep(engine, url)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def missing_files(engine: AsyncEngine, url: str) -> list[str]:
    """Return the paths of files whose records are asked for and that are not at ``url``. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            live = select(cold_files.c.path).where(cold_files.c.state == "live").order_by(cold_files.c.path)
            paths = (await connection.execute(live)).scalars().all()
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    place = await asyncio.to_thread(location, url)
    module("duckdb")
    return await asyncio.to_thread(lambda: [path for path in paths if not place.has(path)])


async def _is_the_place(engine: AsyncEngine, url: str) -> None:
    """Raise PermanentStoreError where none of the newest files is at ``url``: all would be in two places then."""
    live = select(cold_files.c.path).where(cold_files.c.state == "live").order_by(cold_files.c.id.desc())
    async with engine.connect() as connection:
        paths = (await connection.execute(live.limit(_LOOKED_FOR))).scalars().all()
    place = await asyncio.to_thread(location, url)
    if paths and not await asyncio.to_thread(lambda: any(place.has(path) for path in paths)):
        raise PermanentStoreError(
            f"OTEL_INGEST_COLD_URL is not where the cold files are: "
            f"{paths[0]} is not there. Move the files, or set it back"
        )


async def _gather(engine: AsyncEngine, partition: Partition) -> None:
    """Take back what is in files that lost records, or in too many files: it is written anew."""
    async with engine.connect() as connection:
        files = await _files(connection, partition)
    for identifier in files.ids if len(files.ids) >= FILES_MAX else files.damaged:
        await thaw_file(engine, identifier, partition.table)


async def _sweep(engine: AsyncEngine, url: str) -> int:
    """Remove files of nobody: first the file, then what is noted of it, so that none is forgotten."""
    files, chunks = cold_files.c, cold_chunks.c
    empty = ~select(chunks.file_id).where(chunks.file_id == files.id).exists()
    async with engine.begin() as connection:
        await connection.execute(update(cold_files).where(files.state == "live", empty).values(state="gone"))
        gone = select(files.id, files.path).where(files.state.in_(["writing", "gone"]))
        rows = (await connection.execute(gone)).all()
    for row in rows:
        await asyncio.to_thread(location(url).remove, row.path)
        async with engine.begin() as connection:
            await connection.execute(delete(cold_files).where(files.id == row.id))
    return len(rows)


async def _files(connection: Any, partition: Partition) -> _Files:
    files, chunks = cold_files.c, cold_chunks.c
    left = select(func.coalesce(func.sum(chunks.records), 0)).where(chunks.file_id == files.id).scalar_subquery()
    statement = select(files.id, files.records, files.written_at, left.label("left")).where(
        files.table_name == partition.table,
        files.state == "live",
        files.since >= partition.since,
        files.until <= partition.until,
    )
    rows = (await connection.execute(statement.order_by(files.id))).all()
    damaged = [row.id for row in rows if row.left < row.records]
    return _Files([row.id for row in rows], damaged, max((row.written_at for row in rows), default=None))


async def _is_hot(connection: Any, partition: Partition) -> bool:
    """Whether records of it are rows or in blocks."""
    if await has_rows(connection, partition.name):
        return True
    found = packed_blocks.c
    there = select(found.id).where(
        found.table_name == partition.table, found.first_time >= partition.since, found.last_time < partition.until
    )
    return (await connection.execute(there.limit(1))).first() is not None
