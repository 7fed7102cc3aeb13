"""Which rows of which cold files a question may need: told by PostgreSQL, in the snapshot of the question."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    and_,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.cold import traces
from storage.models import cold_chunks, cold_files
from storage.packing.lookup import BlockFacts, bounds_on
from storage.packing.needs import Need

# Ids that each file's filter is asked for, some microseconds each; a question about more looks into all files.
_TRACES_MAX = 100
_C = cold_chunks.c
_SELECT = select(
    _C.file_id, cold_files.c.path, _C.first_row, _C.records, _C.first_time, _C.last_time, _C.first_id, _C.last_id
).join_from(cold_chunks, cold_files, cold_files.c.id == _C.file_id)


async def cold_candidates(connection: AsyncConnection, table: str, needs: Sequence[Need]) -> list[BlockFacts]:
    """Return the chunks that may hold records within one of ``needs``."""
    chunks = cold_chunks.c
    each = [and_(*bounds_on(chunks, need), await _of_traces(connection, table, need)) for need in needs]
    if not each:
        return []
    rows = await connection.execute(_SELECT.where(chunks.table_name == table, or_(false(), *each)))
    return [_facts(row) for row in rows]


async def chunks_of(connection: AsyncConnection, file_id: int, limit: int) -> list[BlockFacts]:
    """Return up to ``limit`` chunks of one file, in its order."""
    chunks = cold_chunks.c
    statement = _SELECT.where(chunks.file_id == file_id).order_by(chunks.first_row).limit(limit)
    return [_facts(row) for row in await connection.execute(statement)]


def _facts(row: Any) -> BlockFacts:
    return BlockFacts(
        row.file_id,
        {"time": row.first_time, "id": row.first_id},
        {"time": row.last_time, "id": row.last_id},
        row.records,
        row.path,
        row.first_row,
    )


async def _of_traces(connection: AsyncConnection, table: str, need: Need) -> ColumnElement[bool]:
    """Return the condition that a chunk's file may hold one of the traces."""
    if need.trace_ids is None or len(need.trace_ids) > _TRACES_MAX:
        return true()
    found: set[int] = set()
    for trace_id in need.trace_ids:
        found |= await _files_of(connection, table, trace_id)
    return cold_chunks.c.file_id.in_(sorted(found))


async def _files_of(connection: AsyncConnection, table: str, trace_id: UUID) -> set[int]:
    """Return the files whose filter says that the trace may be in them: 32 bytes of each are read."""
    files = cold_files.c
    size = func.octet_length(files.trace_filter)
    cell = literal(traces.place(trace_id.bytes), BigInteger) % (size / literal_column(str(traces.CELL_BYTES)))
    start = cast(cell * literal_column(str(traces.CELL_BYTES)), Integer) + 1
    bits = func.substr(files.trace_filter, start, literal_column(str(traces.CELL_BYTES))).label("bits")
    found = select(files.id, bits).where(files.table_name == table, files.state == "live", size > 0)
    rows = await connection.execute(found)
    return {row.id for row in rows if traces.may_hold(bytes(row.bits), trace_id.bytes)}
