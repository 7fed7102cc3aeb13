"""logger_sql: one SELECT over the documented views, for the question no other tool answers. Off unless switched on."""

import json
from typing import Any

from pydantic import Field

from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked
from mcp_tools.errors import UserInputError
from storage.control import Control
from storage.errors import QueryTimeout
from storage.plain_sql.console import CELL_CHARS_MAX, Cell, Console, Rows, Value
from storage.plain_sql.reading import CHARS_MAX, StatementError
from storage.reader import Reader

_ENVELOPE_TOKENS = 220
_CELL_CHARS_SHOWN = 400
_ACTION = "logger_sql"


class SqlArguments(Arguments):
    """Arguments of logger_sql."""

    sql: str = Field(min_length=1, max_length=CHARS_MAX, description="One SELECT; SELECT * … LIMIT 1 shows columns")
    limit: int = Field(100, ge=1, le=1000, description="Rows")


async def logger_sql(reader: Reader, args: SqlArguments, asked: Asked) -> Answer:
    """Return what a statement finds, as text and as data."""
    control, console = _console(asked)
    # First written down, then run: whatever becomes of it, it is known who asked what.
    await control.written_down(asked.caller, asked.role, _ACTION, args.model_dump(), "asked")
    try:
        found = await console.ask(args.sql, args.limit)
    except StatementError as error:
        raise UserInputError("INVALID_SQL", render.clean(str(error), 1_500)) from error
    except QueryTimeout as error:
        raise UserInputError(
            "TIMEOUT", "the statement took too long; bound it, as in WHERE time > now() - interval '15 minutes'"
        ) from error
    return _answer(found, args, await _hints(reader))


def _console(asked: Asked) -> tuple[Control, Console]:
    if asked.control is None or asked.control.console is None:
        raise UserInputError(
            "NOT_OFFERED",
            "logger_sql is switched off here (OTEL_INGEST_SQL_TOOL); the other tools answer most questions",
        )
    return asked.control, asked.control.console


async def _hints(reader: Reader) -> list[str]:
    """Return what the views do not hold."""
    packed = await reader.packed_until()
    if packed is None:
        return []
    return [
        f"packed and cold days, up to {render.time_of(packed)}, are not in the views; the other tools read them too"
    ]


def _answer(found: Rows, args: SqlArguments, hints: list[str]) -> Answer:
    columns = [render.clean(name, 63) for name in found.columns]
    values = [[_shown(cell) for cell in row] for row in found.rows]
    lines = [" | ".join(_text(value) for value in row) for row in values]
    used = sum(len(name) + 3 for name in columns) + sum(len(hint) for hint in hints)
    reserve = _ENVELOPE_TOKENS + used // render.CHARS_A_TOKEN
    kept = render.fit(lines, args.max_tokens, also=values, reserve=reserve)
    cut = sum(cell.chars > _CELL_CHARS_SHOWN for row in found.rows[: len(kept)] for cell in row)
    if cut:
        hints = [*hints, f"{cut} values are cut (…+N): substr(column, {_CELL_CHARS_SHOWN + 1}, …) goes on"]
    if not lines:
        hints = [*hints, "no row; levels are lower case (error), severity is as it was sent, times are UTC"]
    matched = f"≥{len(lines) + 1}" if found.more else len(lines)
    truncated_by = "max_tokens" if len(kept) < len(lines) else "limit" if found.more else None
    summary = f"{len(kept)} of {matched} rows"
    if truncated_by is not None:
        how = "raise max_tokens or select fewer columns" if truncated_by == "max_tokens" else "raise limit"
        summary += f"; left out: {len(lines) - len(kept)}{' or more' if found.more else ''} ({how}, or aggregate)"
    data: dict[str, Any] = {
        "summary": summary,
        "columns": columns,
        "rows": values[: len(kept)],
        "returned": len(kept),
        "matched": matched,
        "truncated": truncated_by is not None,
        "truncated_by": truncated_by,
        "hints": hints,
        "untrusted_data": True,
    }
    head = [summary, *hints, render.FENCE, " | ".join(columns)]
    return Answer("\n".join([*head, *kept, render.FENCE_END]), data, found=bool(kept))


def _shown(cell: Cell) -> Value:
    """Return a value as it is shown; what is longer than may be shown is cut visibly."""
    if not isinstance(cell.value, str):
        return cell.value
    shown = render.clean(cell.value[:_CELL_CHARS_SHOWN], CELL_CHARS_MAX)
    return shown if cell.chars <= _CELL_CHARS_SHOWN else f"{shown}…+{cell.chars - _CELL_CHARS_SHOWN}"


def _text(value: Value) -> str:
    """Return a value in a line of text; a text that could be taken for no value, or for two, is quoted."""
    if isinstance(value, str):
        return (
            json.dumps(value, ensure_ascii=False) if value in {"", "null", "true", "false"} or " | " in value else value
        )
    return json.dumps(value)
