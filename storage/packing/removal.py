"""How packed records leave their blocks: back into rows, all of a period or those that match, or gone with a period.

Whoever deletes records calls ``surface`` first: what matches is rows again, in the same transaction, and nothing else
needs to know of packing (``storage.deletion``). All take a connection inside a transaction.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import NullType

from storage.models import packed_blocks
from storage.packing.arrays import Part, names, packed_names, parameters, source, types_of
from storage.packing.block import Block, PackedColumn, make
from storage.packing.codec import joined, number_element, split
from storage.packing.facts import block_row
from storage.packing.lookup import candidates, part_of
from storage.packing.needs import readings
from storage.packing.shadow import Shadow, shadowed

# Blocks at a time: some 8,000 records, the memory of a step of the packer.
_BLOCKS = 16
_CARRIED = (packed_blocks.c.component, packed_blocks.c.data)


async def surface(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[tuple[datetime, int]]:
    """Make rows again of up to ``limit`` packed records that match; return time and id of each.

    ``conditions`` are on ``table`` alone, or subqueries. Blocks they leave are written anew without them. Fewer than
    ``limit``: no more match, or another transaction deletes from the same blocks at this moment.
    """
    question = select(table.c.time, table.c.id).where(*conditions)
    reading = readings(question, [table])[table.name]
    blocks = [b.id for b in await candidates(connection, table.name, reading.needs)]
    surfaced: list[tuple[datetime, int]] = []
    for start in range(0, len(blocks), _BLOCKS):
        left = limit - len(surfaced)
        if left <= 0:
            break
        surfaced += await _surface_of(connection, table, question.limit(left), blocks[start : start + _BLOCKS])
    return surfaced


async def _surface_of(
    connection: AsyncConnection, table: Table, question: Any, ids: list[int]
) -> list[tuple[datetime, int]]:
    """Do it for some blocks: those with records that match are deleted first, which one transaction alone can."""
    found = packed_blocks.c
    rows = (await connection.execute(select(found.id, *_CARRIED).where(found.id.in_(ids)))).all()
    columns = packed_names(table.name)
    parts = await asyncio.to_thread(lambda: [_part(row, columns) for row in rows])
    asked = shadowed(question, [Shadow(None, table.name, columns, parts)])
    keys = [(row.time, row.id) for row in await connection.execute(asked)] if parts else []
    matching = {number_element(identifier) for _, identifier in keys}
    touched = {row.id: (row, part) for row, part in zip(rows, parts, strict=True) if matching & set(ids_of(part))}
    gone = delete(packed_blocks).where(found.id.in_(list(touched))).returning(found.id)
    ours = [touched[i] for i in (await connection.execute(gone)).scalars()] if touched else []
    left = [(row.component, part) for row, part in ours]
    taken, kept = await asyncio.to_thread(divided, table.name, left, matching)
    if kept:
        await connection.execute(insert(packed_blocks), kept)
    if taken:
        await insert_rows(connection, table.name, taken)
    there = {identifier for part in taken for identifier in ids_of(part)}
    return [key for key in keys if number_element(key[1]) in there]


async def unpack_some(connection: AsyncConnection, table: str, since: datetime, until: datetime) -> int:
    """Make rows again of the records of some blocks of a period; return how many, 0: none are packed any more."""
    found = packed_blocks.c
    of_period = select(found.id).where(found.table_name == table, found.last_time >= since, found.first_time < until)
    some = of_period.order_by(found.last_time).limit(_BLOCKS)
    gone = delete(packed_blocks).where(found.id.in_(some)).returning(*_CARRIED)
    rows = (await connection.execute(gone)).all()
    parts = await asyncio.to_thread(lambda: [_part(row, names(table)) for row in rows])
    if parts:
        await insert_rows(connection, table, parts)
    return sum(part.records for part in parts)


async def drop_blocks(connection: AsyncConnection, table: str, since: datetime, until: datetime) -> int:
    """Delete all packed records of a period of partitions, for good; return how many."""
    found = packed_blocks.c
    gone = delete(packed_blocks).where(found.table_name == table, found.first_time >= since, found.last_time < until)
    return sum((await connection.execute(gone.returning(found.records))).scalars())


def _part(row: Any, columns: Sequence[str]) -> Part:
    return part_of(Block(bytes(row.data)), columns)


def _elements(part: Part, column: str) -> list[bytes]:
    return split(joined(0, part.records, part.columns[column].elements, has_null=False))


def ids_of(part: Part) -> list[bytes]:
    """PURE: return the ids of records as elements."""
    return _elements(part, "id")


def divided(
    table: str, touched: Sequence[tuple[str, Part]], matching: set[bytes]
) -> tuple[list[Part], list[dict[str, Any]]]:
    """PURE: return the records whose ids match, as parts, and the rows of the blocks of the others.

    ``touched``: the component and the columns of each block that is to be.
    """
    taken, kept = [], []
    for component, part in touched:
        chosen = [identifier in matching for identifier in ids_of(part)]
        columns = {name: _elements(part, name) for name in packed_names(table)}
        taken.append(_only(part, columns, chosen))
        if not all(chosen):
            rest = _only(part, columns, [not c for c in chosen])
            arrays = {
                name: joined(types_of(table)[name].oid, rest.records, column.elements, has_null=column.has_null)
                for name, column in rest.columns.items()
            }
            kept.append(block_row(table, component, arrays, make(arrays)))
    return taken, kept


def pieces(part: Part, records: int) -> list[Part]:
    """PURE: return the same records in parts of at most so many."""
    columns = {name: (_elements(part, name), column.has_null) for name, column in part.columns.items()}
    return [
        Part(
            min(records, part.records - at),
            {n: PackedColumn(b"".join(e[at : at + records]), has_null) for n, (e, has_null) in columns.items()},
        )
        for at in range(0, part.records, records)
    ]


def _only(part: Part, columns: dict[str, list[bytes]], chosen: list[bool]) -> Part:
    picked = {
        name: PackedColumn(b"".join(e for e, c in zip(elements, chosen, strict=True) if c), part.columns[name].has_null)
        for name, elements in columns.items()
    }
    return Part(sum(chosen), picked)


async def insert_rows(connection: AsyncConnection, table: str, parts: Sequence[Part]) -> None:
    """Insert unpacked records with the ids they have; their partition is attached for as long as they are there."""
    columns = names(table)
    listed = ", ".join(columns)
    statement = text(f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {source(table, columns)}")  # noqa: S608 - ours
    binds = [bindparam(name, value, type_=NullType()) for name, value in parameters(table, columns, parts).items()]
    await connection.execute(statement.bindparams(*binds))
