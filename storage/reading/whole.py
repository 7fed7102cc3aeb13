"""Traces with every field of their spans and log records, for those who show them in a form of their own."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.mapping import log_columns, log_entry, span_columns, span_entry
from storage.models import log_records, spans
from storage.reading.common import LOGS, SPANS
from storage.views import LogEntry, SpanEntry, WholeTrace


async def whole_traces(
    connection: AsyncConnection, trace_ids: Sequence[str], spans_max: int, logs_max: int
) -> list[WholeTrace]:
    """Return what is stored of each trace, oldest first, in the order asked for; without those nothing is stored of.

    The limits are of all of them together; what is over them is missing from the last ones, which say so.
    """
    keys = [UUID(trace_id) for trace_id in trace_ids]
    found_spans: dict[str | None, list[SpanEntry]] = {}
    for row in await _rows(connection, spans, SPANS, span_columns(), keys, spans_max):
        found_spans.setdefault(row.trace_id.hex, []).append(span_entry(row))
    found_logs: dict[str | None, list[LogEntry]] = {}
    for row in await _rows(connection, log_records, LOGS, log_columns(), keys, logs_max):
        found_logs.setdefault(row.trace_id.hex, []).append(log_entry(row))
    spans_all = await _counts(connection, spans, SPANS, keys, found_spans, spans_max)
    logs_all = await _counts(connection, log_records, LOGS, keys, found_logs, logs_max)
    return [
        WholeTrace(
            trace_id=name,
            spans=found_spans.get(name, []),
            logs=found_logs.get(name, []),
            spans_left_out=max(spans_all.get(name, 0) - len(found_spans.get(name, [])), 0),
            logs_left_out=max(logs_all.get(name, 0) - len(found_logs.get(name, [])), 0),
        )
        for name in dict.fromkeys(key.hex for key in keys)
        if name in found_spans or name in found_logs
    ]


async def _rows(
    connection: AsyncConnection, table: Any, source: Any, columns: list[Any], keys: list[UUID], limit: int
) -> Sequence[Any]:
    """Return the rows of the traces, those of the first ones first, each in order of time."""
    statement = select(*columns).select_from(source).where(table.c.trace_id.in_(keys))
    place = func.array_position(cast(literal(keys, ARRAY(Uuid)), ARRAY(Uuid)), table.c.trace_id)
    return (await connection.execute(statement.order_by(place, table.c.time, table.c.id).limit(limit))).all()


async def _counts(
    connection: AsyncConnection, table: Any, source: Any, keys: list[UUID], found: dict[str | None, Any], limit: int
) -> dict[str, int]:
    """Return how many rows each trace has, where the limit may have cut some; nothing where it has not."""
    if sum(len(rows) for rows in found.values()) < limit:
        return {}
    counted = select(table.c.trace_id, func.count().label("n")).select_from(source).where(table.c.trace_id.in_(keys))
    return {row.trace_id.hex: row.n for row in await connection.execute(counted.group_by(table.c.trace_id))}
