"""Moves the packed records of a closed partition into Parquet files, each in one transaction.

A file is noted as being written, written, made durable, read back through DuckDB and compared with what was packed;
then one transaction deletes the blocks and names the rows of the file in their place. So every snapshot sees a record
once, in its row, its block or its file, and whoever dies in between has changed nothing: a file that is still noted as
being written belongs to nobody (``storage.cold.upkeep``). The partition stays attached: late records are rows of it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, and_, cast, delete, func, insert, select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.cold.conditions import Where
from storage.cold.digest import Digest
from storage.cold.location import Location, location, new_path
from storage.cold.parquet import ROW_GROUP_RECORDS, ParquetFile
from storage.cold.reading import Rows, fetch
from storage.cold.traces import filter_of
from storage.dberrors import translate
from storage.errors import PermanentStoreError, RetryableStoreError
from storage.models import cold_chunks, cold_files, packed_blocks
from storage.packing.arrays import packed_names
from storage.packing.block import Block
from storage.packing.codec import split
from storage.packing.lookup import part_of
from storage.packing.packer import pack_partition
from storage.partitions import Partition

FILE_RECORDS_MAX = 1_048_576
"""Records of one file, but for its last chunk: its trace ids are held in memory while it is written."""
CHUNK_RECORDS_MAX = 2_048
"""Records of one component that PostgreSQL knows the edges of: some 0.1 bytes a record, and what a first page reads."""
# Reading one file back and comparing it takes seconds; a location that does not answer must not hold the next days.
_VERIFY_S_MAX = 600.0
_BLOCKS_AT_A_TIME = 32
_UUID_ELEMENT_BYTES = 20


@dataclass(frozen=True, slots=True)
class Frozen:
    """What was moved of a partition: records, files and their bytes, and the bytes of blocks that are free now."""

    table: str
    partition: str
    records: int
    files: int
    bytes_before: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Edges:
    """What is known of a block without its data."""

    id: int
    component: str
    first_time: datetime
    last_time: datetime
    first_id: int
    last_id: int
    highest: int | None


@dataclass(slots=True)
class _Chunk:
    """Blocks of one component that lie side by side in a file."""

    first_row: int
    blocks: list[_Edges]
    records: int

    def row(self, table: str, file_id: int) -> dict[str, Any]:
        """Return its row of ``cold_chunks``."""
        highest = [b.highest for b in self.blocks if b.highest is not None]
        return {
            "file_id": file_id,
            "first_row": self.first_row,
            "table_name": table,
            "component": self.blocks[0].component,
            "first_time": min(b.first_time for b in self.blocks),
            "last_time": max(b.last_time for b in self.blocks),
            "first_id": min(b.first_id for b in self.blocks),
            "last_id": max(b.last_id for b in self.blocks),
            "records": self.records,
            "highest": max(highest) if highest else None,
        }


@dataclass(slots=True)
class _Written:
    """A file and what is in it."""

    id: int
    path: str
    digest: Digest
    chunks: list[_Chunk] = field(default_factory=list)
    traces: set[bytes] = field(default_factory=set)
    bytes: int = 0


async def freeze_partition(engine: AsyncEngine, url: str, partition: Partition) -> Frozen:
    """Pack what is not packed of a partition, and move all of it into files. ``engine``: the owner's.

    For whoever holds the turn (``storage.cold.upkeep``). Raises StoreError; what was moved stays moved then.
    """
    place = await asyncio.to_thread(location, url)
    await pack_partition(engine, partition)
    files: list[_Written] = []
    before = 0
    try:
        while await _blocks(engine, partition, None, 1):
            written = await _write(engine, place, partition)
            await _verify(url, partition.table, written)
            before += await _swap(engine, partition, written)
            files.append(written)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    records = sum(f.digest.records for f in files)
    return Frozen(partition.table, partition.name, records, len(files), before, sum(f.bytes for f in files))


async def _write(engine: AsyncEngine, place: Location, partition: Partition) -> _Written:
    """Write the next file and make it durable."""
    path = new_path(partition.table, partition.since)
    values = {"table_name": partition.table, "path": path, "state": "writing", "records": 0, "bytes": 0}
    values |= {"since": partition.since, "until": partition.until}
    async with engine.begin() as connection:
        noted = await connection.execute(insert(cold_files).values(values).returning(cold_files.c.id))
        written = _Written(noted.scalar_one(), path, Digest(packed_names(partition.table)))
    file = await asyncio.to_thread(place.begin, path)
    try:
        parquet = ParquetFile(partition.table, file)
        async for group in _groups(engine, partition):
            await asyncio.to_thread(_add, parquet, partition.table, written, group)
        await asyncio.to_thread(parquet.end)
        written.bytes = await asyncio.to_thread(place.finish, path, file)
    except BaseException:
        file.close()
        raise
    return written


async def _groups(engine: AsyncEngine, partition: Partition) -> AsyncIterator[list[Any]]:
    """Yield the blocks of each row group of the next file, by component and time."""
    group: list[Any] = []
    count = total = 0
    place: Any = None
    while blocks := await _blocks(engine, partition, place, _BLOCKS_AT_A_TIME):
        place = blocks[-1]
        for block in blocks:
            group.append(block)
            count += block.records
            if count >= ROW_GROUP_RECORDS:
                yield group
                total += count
                group, count = [], 0
        if total >= FILE_RECORDS_MAX:
            break
    if group:
        yield group


async def _blocks(engine: AsyncEngine, partition: Partition, place: Any, limit: int) -> Sequence[Any]:
    """Return the next blocks of a partition behind ``place``, with their data."""
    found = packed_blocks.c
    key = tuple_(found.component, found.first_time, found.id)
    within = and_(
        found.table_name == partition.table,
        found.first_time >= partition.since,
        found.last_time < partition.until,
        *([key > tuple_(place.component, place.first_time, place.id)] if place is not None else []),
    )
    async with engine.connect() as connection:
        return (await connection.execute(select(packed_blocks).where(within).order_by(*key.clauses).limit(limit))).all()


def _add(parquet: ParquetFile, table: str, written: _Written, blocks: Sequence[Any]) -> None:
    """Write one row group, and note where which block is in the file."""
    columns, parts = packed_names(table), []
    for n, block in enumerate(blocks):
        part = part_of(Block(bytes(block.data)), columns)
        edges = _Edges(*(getattr(block, name) for name in _Edges.__slots__))
        last = written.chunks[-1] if n else None
        if last and last.blocks[0].component == block.component and last.records + part.records <= CHUNK_RECORDS_MAX:
            last.blocks.append(edges)
            last.records += part.records
        else:
            written.chunks.append(_Chunk(written.digest.records, [edges], part.records))
        written.digest.add(part)
        if "trace_id" in part.columns:
            elements = split(bytes(_UUID_ELEMENT_BYTES) + part.columns["trace_id"].elements)
            written.traces |= {e[4:] for e in elements if len(e) == _UUID_ELEMENT_BYTES}
        parts.append(part)
    parquet.add(parts)


async def _verify(url: str, table: str, written: _Written) -> None:
    """Read a file back and compare it. Raises PermanentStoreError where it is not what was written."""
    columns = packed_names(table)
    again = Digest(columns)
    whole = [Rows(written.path, 0, written.digest.records)]
    async for fetched in fetch(url, table, columns, whole, Where(), time.monotonic() + _VERIFY_S_MAX):
        again.add(fetched.part)
    if (again.records, again.value()) != (written.digest.records, written.digest.value()):
        raise PermanentStoreError(
            f"{written.path} reads back as {again.records} records of another content than the "
            f"{written.digest.records} that were written; nothing was moved"
        )


async def _swap(engine: AsyncEngine, partition: Partition, written: _Written) -> int:
    """Put the rows of a file in the place of its blocks, in one transaction; return the bytes of these.

    Raises RetryableStoreError where a block is no longer what was written: somebody deletes records of it.
    """
    ids = [block.id for chunk in written.chunks for block in chunk.blocks]
    filter_ = await asyncio.to_thread(filter_of, written.traces)
    gone = delete(packed_blocks).where(packed_blocks.c.id == func.any(cast(ids, ARRAY(BigInteger))))
    live = {"state": "live", "records": written.digest.records, "bytes": written.bytes}
    live |= {"digest": written.digest.value(), "trace_filter": filter_}
    ours = cold_files.c.id == written.id, cold_files.c.state == "writing"
    async with engine.begin() as connection:
        sizes = (await connection.execute(gone.returning(func.octet_length(packed_blocks.c.data)))).scalars().all()
        noted = await connection.execute(update(cold_files).where(*ours).values(live))
        if len(sizes) != len(ids) or noted.rowcount != 1:
            raise RetryableStoreError(
                f"records of {partition.name} were deleted while they were moved; the next run does it"
            )
        await connection.execute(insert(cold_chunks), [c.row(partition.table, written.id) for c in written.chunks])
    return sum(sizes)
