"""Trace search: which traces have a matching span, and the summary of each."""

from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import cursor as cursors
from storage.filters import TraceQuery, all_of, timestamp, trace_conditions
from storage.mapping import span_ns
from storage.models import spans
from storage.views import TraceSummary

_ERROR = 2
# A trace is summed up from at most this many of its spans; more than that is said by logger_trace.
_SPANS_MAX = 20_000
_LIGHT = (
    spans.c.trace_id,
    spans.c.time,
    spans.c.start_time_unix_nano,
    spans.c.end_time_unix_nano,
    spans.c.component,
    spans.c.name,
    spans.c.parent_span_id,
    spans.c.status_code,
    spans.c.status_message,
)


def matching(source: Any, query: TraceQuery) -> tuple[Select[Any], Select[Any]]:
    """Return the statement of all matching trace ids, and that of one page in order (trace_id, sort)."""
    sort = func.max(spans.c.duration_ns if query.sort == "slowest" else spans.c.time)
    grouped = (
        select(spans.c.trace_id, sort.label("sort"))
        .select_from(source)
        .where(all_of(trace_conditions(query)))
        .group_by(spans.c.trace_id)
    )
    page = grouped.order_by(sort.desc(), spans.c.trace_id.desc())
    if query.cursor is not None:
        value, trace_id = cursors.decode(query.cursor, query.canonical())
        place = literal(value if query.sort == "slowest" else timestamp(value))
        page = page.having(tuple_(sort, spans.c.trace_id) < tuple_(place, literal(UUID(trace_id))))
    return grouped, page


async def summaries(connection: AsyncConnection, trace_ids: list[UUID]) -> dict[UUID, TraceSummary]:
    """Return the summary of each trace."""
    if not trace_ids:
        return {}
    statement = select(*_LIGHT).where(spans.c.trace_id.in_(trace_ids)).order_by(spans.c.time).limit(_SPANS_MAX)
    by_trace: dict[UUID, list[Any]] = {}
    for row in await connection.execute(statement):
        by_trace.setdefault(row.trace_id, []).append(row)
    return {trace_id: _summary(trace_id, rows) for trace_id, rows in by_trace.items()}


def _summary(trace_id: UUID, rows: list[Any]) -> TraceSummary:
    root = next((r for r in rows if r.parent_span_id is None), rows[0])
    start = min(span_ns(r) for r in rows)
    end = max(max(r.end_time_unix_nano, span_ns(r)) for r in rows)
    failed = [r for r in rows if r.status_code == _ERROR]
    return TraceSummary(
        trace_id=trace_id.hex,
        root_component=root.component,
        root_name=root.name,
        start_ns=start,
        duration_ns=end - start,
        span_count=len(rows),
        error_count=len(failed),
        components=sorted({r.component for r in rows}),
        first_error=(failed[0].status_message or failed[0].name) if failed else None,
    )
