"""One trace, and trace search."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import cursor as cursors
from storage.filters import TraceQuery
from storage.mapping import log_columns, log_entry, span_columns, span_entry, us_of
from storage.models import log_records, spans
from storage.reading import search
from storage.reading.common import COUNT_MAX, LOGS, SPANS, count_matching
from storage.views import Page, Trace, TraceSummary


async def get_trace(
    connection: AsyncConnection, trace_id: str, spans_max: int = 5_000, logs_max: int = 5_000
) -> Trace | None:
    """Return all that is stored of a trace, oldest first; None when nothing is."""
    key = UUID(trace_id)
    span_rows = select(*span_columns()).select_from(SPANS).where(spans.c.trace_id == key)
    log_rows = select(*log_columns()).select_from(LOGS).where(log_records.c.trace_id == key)
    found = (await connection.execute(span_rows.order_by(spans.c.time, spans.c.id).limit(spans_max))).all()
    logs = (await connection.execute(log_rows.order_by(log_records.c.time, log_records.c.id).limit(logs_max))).all()
    spans_all, logs_all = len(found), len(logs)
    if spans_all == spans_max or logs_all == logs_max:
        spans_all = await _count_all(connection, spans, key)
        logs_all = await _count_all(connection, log_records, key)
    if not found and not logs:
        return None
    return Trace(
        trace_id=trace_id,
        spans=sorted((span_entry(row) for row in found), key=lambda s: s.time_ns),
        logs=sorted((log_entry(row) for row in logs), key=lambda entry: (entry.time_ns, entry.id)),
        spans_left_out=spans_all - len(found),
        logs_left_out=logs_all - len(logs),
    )


async def find_traces(connection: AsyncConnection, query: TraceQuery) -> Page[TraceSummary]:
    """Return one page of trace summaries. Raises InvalidCursor."""
    grouped, place = search.matching(SPANS, query)
    rows = (await connection.execute(place.limit(query.limit + 1))).all()
    matched = await count_matching(connection, grouped)
    page = rows[: query.limit]
    summaries = await search.summaries(connection, [row.trace_id for row in page])
    more = len(rows) > query.limit
    cursor = cursors.encode([_sort_value(page[-1].sort), page[-1].trace_id.hex], query.canonical()) if more else None
    return Page(
        items=[summaries[row.trace_id] for row in page],
        matched=min(matched, COUNT_MAX),
        matched_is_lower_bound=matched > COUNT_MAX,
        next_cursor=cursor,
    )


async def _count_all(connection: AsyncConnection, table: Any, trace_id: UUID) -> int:
    statement = select(func.count()).select_from(table).where(table.c.trace_id == trace_id)
    return int((await connection.execute(statement)).scalar_one())


def _sort_value(value: Any) -> int:
    return value if isinstance(value, int) else us_of(value)
