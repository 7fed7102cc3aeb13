"""A statement that was read -> its rows, as the role of the views, in a transaction that cannot write."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import roles
from storage.dberrors import translate
from storage.errors import PermanentStoreError
from storage.plain_sql.allowed import VIEWS
from storage.plain_sql.reading import StatementError, read

CELL_CHARS_MAX = 2_000
"""Characters of one value that leave PostgreSQL."""
COLUMNS_MAX = 100
# OIDs of int8, int2, int4, float4, float8 and numeric; bool.
_NUMBERS = frozenset({20, 21, 23, 700, 701, 1700})
_BOOL = 16
# A number that JSON readers would not read back as it is stays text.
_EXACT_DIGITS = 15


Value = str | float | bool | None


@dataclass(frozen=True, slots=True)
class Cell:
    """A value: None, a number, a boolean, or text with its whole length in characters."""

    value: Value
    chars: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement found: names of columns, rows of them, and whether there are more than were asked for."""

    columns: list[str]
    rows: list[list[Cell]]
    more: bool


class Console:
    """Runs statements through ``engine`` (``storage.engine.sql_engine``); ``url`` is its user's."""

    def __init__(self, engine: AsyncEngine, url: str) -> None:
        self._engine = engine
        self._url = url
        self._is_sure = False

    async def ask(self, text: str, rows_max: int) -> Rows:
        """Return up to ``rows_max`` rows of one SELECT over the documented views.

        The text that was read is what is run, in brackets and with a parameter, so that PostgreSQL too takes one
        statement alone, and only one that reads. Raises StatementError for one that may not be run or that PostgreSQL
        cannot answer; QueryTimeout and other StoreErrors.
        """
        statement = read(text)
        await self._make_sure()
        try:
            async with self._engine.connect() as connection:
                return await _ask(connection, statement.text, rows_max)
        except (SQLAlchemyError, OSError) as error:
            raise _told(error, statement.views) from error

    async def _make_sure(self) -> None:
        """Before the first statement: raise PermanentStoreError where the user may more than it should."""
        if self._is_sure:
            return
        excess = await roles.too_much(self._url)
        if excess:
            raise PermanentStoreError(
                f"nothing was run: the user of OTEL_INGEST_DATABASE_SQL_URL {' and '.join(excess)}; it must be "
                f"{roles.SQL} alone (`otel-ingest migrate --roles`)"
            )
        self._is_sure = True


async def _ask(connection: AsyncConnection, text: str, rows_max: int) -> Rows:
    inner = f"({text.replace('%', '%%')}\n) AS q"  # the line end: the text may end in a comment
    described = await connection.exec_driver_sql(f"SELECT * FROM {inner} LIMIT %(n)s", {"n": 0})  # noqa: S608
    cursor = described.cursor
    assert cursor is not None  # noqa: S101 - it returns rows
    kinds = [(str(name), int(str(kind))) for name, kind, *_ in cursor.description or ()]
    described.close()
    if not 0 < len(kinds) <= COLUMNS_MAX:
        raise StatementError(f"{len(kinds)} columns; 1 to {COLUMNS_MAX} can be shown")
    names = [f"c{index}" for index in range(len(kinds))]
    cells = ", ".join(f"left(CAST({name} AS text), {CELL_CHARS_MAX}), length(CAST({name} AS text))" for name in names)
    found = await connection.exec_driver_sql(
        f"SELECT {cells} FROM {inner} ({', '.join(names)}) LIMIT %(n)s",  # noqa: S608 - read, see ``ask``
        {"n": rows_max + 1},
    )
    rows = [_cells(row, kinds) for row in found.all()]
    return Rows([name for name, _ in kinds], rows[:rows_max], len(rows) > rows_max)


def _cells(row: Sequence[Any], kinds: Sequence[tuple[str, int]]) -> list[Cell]:
    return [_cell(row[2 * index], row[2 * index + 1], kind) for index, (_, kind) in enumerate(kinds)]


def _cell(text: str | None, chars: int | None, kind: int) -> Cell:
    if text is None or chars is None:
        return Cell(None)
    if kind == _BOOL:
        return Cell(text == "true")
    if kind in _NUMBERS and len(text.lstrip("-").replace(".", "").strip("0")) <= _EXACT_DIGITS:
        try:
            number = json.loads(text, parse_constant=str)
        except ValueError:  # of numeric: 00.1 is not JSON, and not written so
            return Cell(text, chars)
        return Cell(number, chars) if isinstance(number, int | float) else Cell(text, chars)
    return Cell(text, chars)


def _told(error: BaseException, views: Sequence[str]) -> Exception:
    """Return what an error of PostgreSQL means to who wrote the statement; what records hold is not in it."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return StatementError("the role of this tool may not do this")
    if state.startswith("22"):  # its message would quote a value
        name = type(cause).__name__
        return StatementError(f"a value does not fit what is done with it ({name}); test it first, or cast it to text")
    if state[:2] in {"42", "0A", "54", "21", "53"} and isinstance(cause, psycopg.Error):
        if state.startswith("53") and not state.startswith("534"):
            return translate(error, reading=True)
        hint = f" {cause.diag.message_hint}" if cause.diag.message_hint else ""
        columns = "; ".join(f"{view}: {', '.join(VIEWS[view])}" for view in views) if state == "42703" else ""
        return StatementError(f"{cause.diag.message_primary}.{hint}" + (f" Columns of {columns}" if columns else ""))
    found = translate(error, reading=True)
    return PermanentStoreError(str(found)) if state == "25006" else found
