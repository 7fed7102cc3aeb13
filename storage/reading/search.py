"""Trace search: which traces have a matching span, and the summary of each."""

from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import cursor as cursors
from storage.filters import TraceQuery, all_of, timestamp, trace_conditions
from storage.mapping import ns_of
from storage.models import spans
from storage.views import TraceSummary

_ERROR = 2
_SORTS: dict[str, Any] = {
    "newest": func.max(spans.c.time),
    "slowest": func.max(spans.c.duration_ns),
    "errors": func.count().filter(spans.c.status_code == _ERROR),
}


def matching(source: Any, query: TraceQuery) -> tuple[Select[Any], Select[Any]]:
    """Return the statement of all matching trace ids, and that of one page in order (trace_id, sort)."""
    sort = _SORTS[query.sort]
    grouped = (
        select(spans.c.trace_id, sort.label("sort"))
        .select_from(source)
        .where(all_of(trace_conditions(query)))
        .group_by(spans.c.trace_id)
    )
    page = grouped.order_by(sort.desc(), spans.c.trace_id.desc())
    if query.cursor is not None:
        value, trace_id = cursors.decode(query.cursor, query.canonical(), (int, str))
        place = literal(timestamp(value) if query.sort == "newest" else value)
        page = page.having(tuple_(sort, spans.c.trace_id) < tuple_(place, literal(UUID(trace_id))))
    return grouped, page


async def summaries(connection: AsyncConnection, trace_ids: list[UUID]) -> dict[UUID, TraceSummary]:
    """Return the summary of each trace, over all of its spans; three statements, however many traces."""
    if not trace_ids:
        return {}
    table = spans.c
    chosen = table.trace_id.in_(trace_ids)
    totals = select(
        table.trace_id,
        func.count().label("n"),
        func.count().filter(table.status_code == _ERROR).label("errors"),
        func.min(table.time).label("first"),
        # A start of 0 was not given; the partition's time stands for it then.
        func.min(func.nullif(table.start_time_unix_nano, 0)).label("start_ns"),
        func.max(func.greatest(table.end_time_unix_nano, table.start_time_unix_nano)).label("end_ns"),
        func.array_agg(table.component.distinct()).label("components"),
    )
    is_child = table.parent_span_id.isnot(None)
    root = select(table.trace_id, table.component, table.name).ext(distinct_on(table.trace_id)).where(chosen)
    failed = select(table.trace_id, table.component, table.name, table.status_message).ext(distinct_on(table.trace_id))
    failed = failed.where(chosen, table.status_code == _ERROR)
    counted = (await connection.execute(totals.where(chosen).group_by(table.trace_id))).all()
    by_root = await connection.execute(root.order_by(table.trace_id, is_child, table.time, table.id))
    by_error = await connection.execute(failed.order_by(table.trace_id, table.time, table.id))
    roots = {row.trace_id: row for row in by_root}
    errors = {row.trace_id: row for row in by_error}
    return {r.trace_id: _summary(r, roots[r.trace_id], errors.get(r.trace_id)) for r in counted}


def _summary(totals: Any, root: Any, failed: Any) -> TraceSummary:
    start = totals.start_ns or ns_of(totals.first)
    return TraceSummary(
        trace_id=totals.trace_id.hex,
        root_component=root.component,
        root_name=root.name,
        start_ns=start,
        duration_ns=max(totals.end_ns - start, 0),
        span_count=totals.n,
        error_count=totals.errors,
        components=sorted(totals.components),
        first_error=failed and (failed.status_message or failed.name),
        error_span=failed and f"{failed.component} {failed.name}",
    )
