"""How cold records come back: into blocks, chunk by chunk, and those that are to be deleted as rows among them.

A chunk leaves its file by one DELETE, which one transaction alone can do, and is in blocks when that commits. What its
file holds of it is nobody's from then on, and goes when the file is written anew (``storage.cold.upkeep``).
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.cold.conditions import Where, where
from storage.cold.lookup import chunks_of, cold_candidates
from storage.cold.reading import Rows, fetch
from storage.engine import cold_url
from storage.errors import PermanentStoreError
from storage.models import cold_chunks, cold_files, packed_blocks
from storage.packing.arrays import Part, packed_names
from storage.packing.codec import number_element
from storage.packing.lookup import BlockFacts
from storage.packing.needs import readings
from storage.packing.packer import BLOCK_RECORDS_MAX
from storage.packing.removal import divided, ids_of, insert_rows, pieces
from storage.packing.shadow import Shadow, shadowed

# One statement reads this many chunks at a time, some 65,000 records by the columns it asks for.
_CHUNKS = 32
_READ_S_MAX = 60.0


async def surface_cold(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[tuple[datetime, int]]:
    """Make rows of up to ``limit`` cold records that match, and blocks of what is beside them; return time and id.

    As ``storage.packing.removal.surface``, and called after it. Raises StoreError where the files cannot be read.
    """
    if not await _any_cold(connection, table.name):
        return []
    question = select(table.c.time, table.c.id).where(*conditions)
    reading = readings(question, [table])[table.name]
    chunks = sorted(await cold_candidates(connection, table.name, reading.needs), key=lambda c: (c.path, c.first_row))
    surfaced: list[tuple[datetime, int]] = []
    for start in range(0, len(chunks), _CHUNKS):
        if len(surfaced) >= limit:
            break
        some = chunks[start : start + _CHUNKS]
        parts = [p async for p in _parts(connection, table.name, reading.columns, some, where(reading.needs))]
        asked = shadowed(question.limit(limit - len(surfaced)), [Shadow(None, table.name, reading.columns, parts)])
        keys = [(row.time, row.id) for row in await connection.execute(asked)] if parts else []
        surfaced += await _thaw_with(connection, table.name, some, keys)
    return surfaced


async def _any_cold(connection: AsyncConnection, table: str) -> bool:
    there = select(exists().where(cold_chunks.c.table_name == table))
    return bool((await connection.execute(there)).scalar_one())


async def _parts(
    connection: AsyncConnection, table: str, columns: Sequence[str], chunks: Sequence[BlockFacts], narrowed: Where
) -> Any:
    rows = [Rows(chunk.path, chunk.first_row, chunk.records) for chunk in chunks]
    until = time.monotonic() + _READ_S_MAX
    async for fetched in fetch(cold_url(connection), table, columns, rows, narrowed, until):
        yield fetched.part


async def _thaw_with(
    connection: AsyncConnection, table: str, chunks: Sequence[BlockFacts], keys: Sequence[tuple[datetime, int]]
) -> list[tuple[datetime, int]]:
    """Thaw the chunks that hold one of ``keys``, which become rows; return those that did."""
    there: list[tuple[datetime, int]] = []
    for chunk in chunks:
        mine = [k for k in keys if _may_hold(chunk, k)]
        if mine:
            there += await _thaw(connection, table, chunk, mine)
    return there


def _may_hold(chunk: BlockFacts, key: tuple[datetime, int]) -> bool:
    moment, identifier = key
    in_time = chunk.first["time"] <= moment <= chunk.last["time"]
    return bool(in_time and chunk.first["id"] <= identifier <= chunk.last["id"])


async def _thaw(
    connection: AsyncConnection, table: str, chunk: BlockFacts, keys: Sequence[tuple[datetime, int]]
) -> list[tuple[datetime, int]]:
    """Make blocks of a chunk, and rows of those of ``keys`` that are in it; return these. [] where none is in it."""
    parts = [p async for p in _parts(connection, table, packed_names(table), [chunk], Where())]
    known = {identifier for part in parts for identifier in ids_of(part)}
    found = [key for key in keys if number_element(key[1]) in known]
    return found if found and await _thawed(connection, table, chunk, parts, found) else []


async def _thawed(
    connection: AsyncConnection,
    table: str,
    chunk: BlockFacts,
    parts: Sequence[Part],
    keys: Sequence[tuple[datetime, int]] = (),
) -> bool:
    """Take a chunk out of its file, whose records ``parts`` are; whether nobody else did."""
    mine = delete(cold_chunks).where(cold_chunks.c.file_id == chunk.id, cold_chunks.c.first_row == chunk.first_row)
    component = (await connection.execute(mine.returning(cold_chunks.c.component))).scalar_one_or_none()
    if component is None:
        return False
    if sum(part.records for part in parts) != chunk.records:
        raise PermanentStoreError(f"{chunk.path} has not the records that are noted of it; nothing was changed")
    blocks = [(component, piece) for part in parts for piece in pieces(part, BLOCK_RECORDS_MAX)]
    wanted = {number_element(identifier) for _, identifier in keys}
    taken, kept = await asyncio.to_thread(divided, table, blocks, wanted)
    if kept:
        await connection.execute(insert(packed_blocks), kept)
    some = [part for part in taken if part.records]
    if some:
        await insert_rows(connection, table, some)
    return True


async def thaw_file(engine: AsyncEngine, file_id: int, table: str) -> int:
    """Make blocks of all that is in a file, some chunks a transaction; return how many records. Raises StoreError."""
    total = 0
    while True:
        async with engine.begin() as connection:
            chunks = await chunks_of(connection, file_id, _CHUNKS)
            if not chunks:
                return total
            for chunk in chunks:
                parts = [p async for p in _parts(connection, table, packed_names(table), [chunk], Where())]
                if await _thawed(connection, table, chunk, parts):
                    total += chunk.records


async def drop_cold(connection: AsyncConnection, table: str, since: datetime, until: datetime) -> int:
    """Let go of all cold records of a period of partitions for good; return how many. Upkeep removes the files."""
    files = cold_files.c
    mine = select(files.id).where(files.table_name == table, files.since >= since, files.until <= until)
    gone = delete(cold_chunks).where(cold_chunks.c.file_id.in_(mine)).returning(cold_chunks.c.records)
    records = int(sum((await connection.execute(gone)).scalars()))
    await connection.execute(
        update(cold_files).where(cold_files.c.id.in_(mine), files.state == "live").values(state="gone")
    )
    return records
