"""Which blocks a question needs, and their columns: asked on the connection of the question, in its snapshot."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.cold.conditions import where
from storage.cold.reading import Rows, fetch
from storage.engine import cold_url
from storage.errors import PermanentStoreError, QuestionTooLarge
from storage.models import packed_blocks
from storage.packing.arrays import Part
from storage.packing.block import Block
from storage.packing.codec import DamagedBlockError
from storage.packing.needs import Need, Reading, trace_hash

UNPACKED_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of unpacked columns one statement may be given: PostgreSQL holds them some three times while it answers."""
UNPACK_SECONDS_MAX = 10.0
"""Seconds one statement may unpack, as long as one may run by default."""
# Blocks fetched at a time: 1 to 2 MB, and other questions are answered in between.
_FETCH_BLOCKS = 64
# A list this long is not worth an index probe each.
_TRACES_MAX = 1_000
ANY_PACKED = "SELECT EXISTS (SELECT FROM packed_blocks) OR EXISTS (SELECT FROM cold_chunks)"
"""Whether there is any block, or any cold record: the first look, of a page each."""
_STATE = text("""
SELECT quote_ident(current_schema()) AS schema, t.name,
       (SELECT b.last_time FROM packed_blocks b WHERE b.table_name = t.name ORDER BY b.last_time DESC LIMIT 1) AS last,
       (SELECT c.last_time FROM cold_chunks c WHERE c.table_name = t.name ORDER BY c.last_time DESC LIMIT 1) AS cold
FROM unnest(CAST(:tables AS text[])) AS t (name)
""")


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What is known of a block without its data."""

    id: int
    first: dict[str, Any]
    last: dict[str, Any]
    records: int
    path: str = ""
    """Of cold rows (``storage.cold``): their file, ``id`` being its own; empty: a packed block."""
    first_row: int = 0


@dataclass(frozen=True, slots=True)
class PackedState:
    """The schema's name as SQL, and the time of the newest packed or cold record of each table that has some."""

    schema: str
    newest: dict[str, datetime]
    cold: frozenset[str] = frozenset()
    """Tables with cold records."""


async def packed_state(connection: AsyncConnection, tables: Iterable[str]) -> PackedState:
    """Return what is packed or cold at all: six probes of an index."""
    rows = (await connection.execute(_STATE, {"tables": list(tables)})).all()
    newest = {row.name: [moment for moment in (row.last, row.cold) if moment is not None] for row in rows}
    cold = frozenset(row.name for row in rows if row.cold is not None)
    return PackedState(rows[0].schema, {name: max(moments) for name, moments in newest.items() if moments}, cold)


async def candidates(connection: AsyncConnection, table: str, needs: Sequence[Need]) -> list[BlockFacts]:
    """Return the blocks that may hold records within one of ``needs``."""
    found = packed_blocks.c
    columns = (found.id, found.first_time, found.last_time, found.first_id, found.last_id, found.records)
    condition = or_(false(), *(and_(*_conditions(need)) for need in needs))
    rows = await connection.execute(select(*columns).where(found.table_name == table, condition))
    return [
        BlockFacts(r.id, {"time": r.first_time, "id": r.first_id}, {"time": r.last_time, "id": r.last_id}, r.records)
        for r in rows
    ]


def _conditions(need: Need) -> list[ColumnElement[bool]]:
    """PURE: return the conditions on blocks that hold for every block with a record within ``need``."""
    found = packed_blocks.c
    conditions = bounds_on(found, need)
    if need.trace_ids is not None and len(need.trace_ids) <= _TRACES_MAX:
        conditions.append(found.trace_hashes.overlap(sorted({trace_hash(i) for i in need.trace_ids})))
    return conditions


def bounds_on(found: Any, need: Need) -> list[ColumnElement[bool]]:
    """PURE: return the conditions on the edges of blocks, or of cold chunks, whose columns ``found`` are."""
    conditions: list[ColumnElement[bool]] = [found.records > 0]
    bounds: list[tuple[Any, Callable[[Any], ColumnElement[bool]]]] = [
        (need.since, lambda value: found.last_time >= value),
        (need.until, lambda value: found.first_time <= value),
        (need.first_id, lambda value: found.last_id >= value),
        (need.last_id, lambda value: found.first_id <= value),
        (need.components, lambda value: found.component.in_(sorted(value))),
        (need.severity_min, lambda value: found.highest >= value),
        (need.status_code, lambda value: found.highest >= value),
    ]
    return conditions + [make(value) for value, make in bounds if value is not None]


class Unpacker:
    """Unpacks blocks for one statement, within its bounds."""

    def __init__(
        self, connection: AsyncConnection, table: str, reading: Reading, bytes_max: int, limit_ms: int | None
    ) -> None:
        """``limit_ms``: the time that the statement has, where that is less than UNPACK_SECONDS_MAX."""
        self._connection = connection
        self._table = table
        self._columns = reading.columns
        self._needs = reading.needs
        self._bytes_left = bytes_max
        self._until = time.monotonic() + min(UNPACK_SECONDS_MAX, (limit_ms or UNPACK_SECONDS_MAX * 1000) / 1000)
        self.parts: list[Part] = []

    async def add(self, blocks: Sequence[BlockFacts]) -> None:
        """Unpack these too, and fetch what is cold of them. Raises QuestionTooLarge, PermanentStoreError."""
        await self._unpack([block for block in blocks if not block.path])
        await self._fetch([block for block in blocks if block.path])

    async def _fetch(self, blocks: Sequence[BlockFacts]) -> None:
        """Fetch what the statement may need of cold files."""
        rows = [Rows(block.path, block.first_row, block.records) for block in blocks]
        if not blocks:
            return
        url = cold_url(self._connection)
        async for fetched in fetch(url, self._table, self._columns, rows, where(self._needs), self._until):
            self._take([fetched.part])

    def _take(self, parts: Sequence[Part]) -> None:
        self.parts += parts
        self._bytes_left -= sum(part.size_bytes for part in parts)
        if self._bytes_left < 0 or time.monotonic() > self._until:
            raise QuestionTooLarge(
                "answering this would unpack too many packed or cold records; narrow the window or the filters"
            )

    async def _unpack(self, blocks: Sequence[BlockFacts]) -> None:
        for start in range(0, len(blocks), _FETCH_BLOCKS):
            ids = [block.id for block in blocks[start : start + _FETCH_BLOCKS]]
            found = packed_blocks.c
            statement = select(found.data).where(found.id.in_(ids))
            rows = (await self._connection.execute(statement)).all()
            try:
                parts = await asyncio.to_thread(self._unpacked, [bytes(row.data) for row in rows])
            except DamagedBlockError as error:
                raise PermanentStoreError(
                    f"packed records cannot be read, PostgreSQL's data is damaged: {error}"
                ) from error
            self._take(parts)

    def _unpacked(self, blocks: Sequence[bytes]) -> list[Part]:
        parts = []
        for data in blocks:
            block = Block(data)
            if any(need.keeps(partial(_elements, block)) for need in self._needs):
                parts.append(part_of(block, self._columns))
        return parts


def part_of(block: Block, columns: Sequence[str]) -> Part:
    """PURE: return unpacked columns of a block. Raises DamagedBlockError."""
    return Part(block.records, {name: block.column(name) for name in columns})


def _elements(block: Block, column: str) -> bytes:
    return block.column(column).elements
