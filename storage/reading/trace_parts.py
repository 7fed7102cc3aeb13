"""The whole spans and log records of one trace, in pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.filters import all_of, span_id_number, timestamp
from storage.mapping import log_columns, log_entry, span_columns, span_entry, us_of
from storage.models import log_records, spans
from storage.reading.common import LOGS, SPANS
from storage.views import LogEntry, SpanEntry

Place = tuple[int, int, int]
"""(time in us, 0 for a span or 1 for a log record, id): spans come before log records of the same microsecond."""

_SPAN, _LOG = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsQuery:
    """Which parts of a trace. ``failed``: spans with status error, log records from ERROR on."""

    trace_id: str
    spans: bool = True
    logs: bool = True
    failed: bool = False
    span_ids: Sequence[str] = ()
    after: Place | None = None
    limit: int = 100


async def trace_parts(connection: AsyncConnection, query: PartsQuery) -> list[tuple[Place, SpanEntry | LogEntry]]:
    """Return up to ``query.limit`` parts behind ``query.after``, each with its place, in the order of places."""
    key = UUID(query.trace_id)
    parts: list[tuple[Place, SpanEntry | LogEntry]] = []
    numbers = [span_id_number(s) for s in query.span_ids]
    if query.spans:
        table = spans.c
        conditions: list[Any] = [table.trace_id == key, *_behind(table, query.after, _SPAN)]
        conditions += [table.span_id.in_(numbers)] if numbers else []
        conditions += [table.status_code == 2] if query.failed else []  # noqa: PLR2004 - STATUS_CODE_ERROR
        statement = select(*span_columns()).select_from(SPANS).where(all_of(conditions))
        found = await connection.execute(statement.order_by(table.time, table.id).limit(query.limit))
        parts += [((us_of(row.time), _SPAN, row.id), span_entry(row)) for row in found]
    if query.logs:
        logs = log_records.c
        conditions = [logs.trace_id == key, *_behind(logs, query.after, _LOG)]
        conditions += [logs.span_id.in_(numbers)] if numbers else []
        conditions += [logs.severity_number >= 17] if query.failed else []  # noqa: PLR2004 - SEVERITY_NUMBER_ERROR
        statement = select(*log_columns()).select_from(LOGS).where(all_of(conditions))
        found = await connection.execute(statement.order_by(logs.time, logs.id).limit(query.limit))
        parts += [((us_of(row.time), _LOG, row.id), log_entry(row)) for row in found]
    return sorted(parts, key=lambda part: part[0])[: query.limit]


def _behind(table: Any, after: Place | None, kind: int) -> list[ColumnElement[bool]]:
    if after is None:
        return []
    time_us, kind_there, identifier = after
    moment = literal(timestamp(time_us))
    if kind == kind_there:
        return [tuple_(table.time, table.id) > tuple_(moment, literal(identifier))]
    # Of the same microsecond all spans come before all log records.
    return [table.time >= moment if kind > kind_there else table.time > moment]
