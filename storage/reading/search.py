"""Trace search: which traces have a matching span, and the summary of each."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on

from storage import cursor as cursors
from storage.filters import TraceQuery, all_of, depends_on_values, timestamp, trace_conditions
from storage.mapping import ns_of
from storage.models import spans
from storage.packing.connection import PackedConnection
from storage.reading import bounds
from storage.reading.bounds import COUNT_S, hurried, unless_too_slow
from storage.reading.common import SPANS
from storage.reading.resolving import resolved
from storage.views import Stopped, TraceSummary

_ERROR = 2
# Spans that are read for a page of the newest traces: hundreds of traces of a few spans each, in milliseconds.
_SPANS_MAX = 2_000
# Spans that are counted for how many traces there are; some 20 ms.
_COUNTED_SPANS_MAX = 20_000
_SORTS: dict[str, Any] = {
    "newest": func.max(spans.c.time),
    "slowest": func.max(spans.c.duration_ns),
    "errors": func.count().filter(spans.c.status_code == _ERROR),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One page of trace ids with what each is sorted by; whether there are more; how many match, or at least do.

    ``stopped``: the search looked at the spans from ``edge`` on alone.
    """

    page: list[tuple[UUID, Any]]
    more: bool
    matched: int
    at_least: bool
    stopped: Stopped | None = None
    edge: datetime | None = None


async def matching(connection: PackedConnection, query: TraceQuery, *, counted: bool = True) -> Found:
    """Return one page of the traces that have a matching span. Raises InvalidCursor.

    Not ``counted``: how many match in all is not asked for, and at least those that are found are said to.
    """
    conditions = await resolved(connection, spans, trace_conditions(query))
    page = stopped = edge = None
    with unless_too_slow():
        async with hurried(connection, bounds.SEARCH_S, for_any_value=not depends_on_values(query)):
            page = await _page(connection, query, conditions)
    if page is None:
        edge, stopped = await bounds.edge_of(connection, spans, _broad(query))
        page = await _page(connection, query, [*conditions, spans.c.time >= edge[0]] if edge else conditions)
    more = len(page) > query.limit
    if edge is not None:
        shown = page[: query.limit]
        return Found(shown, more=more, matched=len(shown), at_least=True, stopped=stopped, edge=edge[0])
    matched, at_least = len(page), False
    if (more or query.cursor is not None) and not counted:
        at_least = True
    elif more or query.cursor is not None:
        matched, at_least = await _count(connection, conditions, len(page))
    return Found(page[: query.limit], more, matched, at_least)


async def _page(
    connection: PackedConnection, query: TraceQuery, conditions: list[ColumnElement[bool]]
) -> list[tuple[UUID, Any]]:
    page = await _newest(connection, query, conditions) if query.sort == "newest" else None
    return await _grouped(connection, query, conditions) if page is None else page


def _broad(query: TraceQuery) -> list[ColumnElement[bool]]:
    """Return the conditions that an index of spans answers: component, window, and what earlier pages looked at."""
    place = _place(query) if query.sort == "newest" else None
    whole = TraceQuery(component=query.component, since_ns=query.since_ns, until_ns=query.until_ns)
    return [*trace_conditions(whole), *([spans.c.time <= place[0]] if place is not None else [])]


def _place(query: TraceQuery) -> tuple[Any, UUID] | None:
    if query.cursor is None:
        return None
    value, trace_id = cursors.decode(query.cursor, query.canonical(), (int, str))
    return timestamp(value) if query.sort == "newest" else value, UUID(trace_id)


async def _newest(
    connection: PackedConnection, query: TraceQuery, conditions: list[ColumnElement[bool]]
) -> list[tuple[UUID, Any]] | None:
    """Return the page and one more from the newest spans alone; None where they are of too few traces.

    The newest matching span of a trace says when it was; so spans are read from the newest on, until there are enough.
    """
    place = _place(query)
    key = tuple_(spans.c.time, spans.c.trace_id)
    walk = select(spans.c.trace_id, spans.c.time).select_from(SPANS).where(all_of(conditions))
    if place is not None:
        walk = walk.where(spans.c.time <= place[0], key < tuple_(literal(place[0]), literal(place[1])))
    walk = walk.order_by(spans.c.time.desc(), spans.c.trace_id.desc())
    rows = (await connection.execute(walk.limit(_SPANS_MAX))).all()
    found: dict[UUID, Any] = {}
    for row in rows:
        found.setdefault(row.trace_id, row.time)
    if place is not None and found:
        # A trace of an earlier page, by a newer span of its own.
        shown = select(spans.c.trace_id).select_from(SPANS).where(all_of(conditions), spans.c.trace_id.in_(list(found)))
        shown = shown.where(key >= tuple_(literal(place[0]), literal(place[1])))
        for trace_id in (await connection.execute(shown.distinct())).scalars():
            del found[trace_id]
    if len(found) <= query.limit and len(rows) == _SPANS_MAX:
        return None
    return list(found.items())[: query.limit + 1]


async def _grouped(
    connection: PackedConnection, query: TraceQuery, conditions: list[ColumnElement[bool]]
) -> list[tuple[UUID, Any]]:
    """Return the page and one more by a look at every matching span."""
    sort = _SORTS[query.sort]
    page = select(spans.c.trace_id, sort.label("sort")).select_from(SPANS).where(all_of(conditions))
    page = page.group_by(spans.c.trace_id).order_by(sort.desc(), spans.c.trace_id.desc())
    place = _place(query)
    if place is not None:
        page = page.having(tuple_(sort, spans.c.trace_id) < tuple_(literal(place[0]), literal(place[1])))
    rows = (await connection.execute(page.limit(query.limit + 1))).all()
    return [(row.trace_id, row.sort) for row in rows]


async def _count(connection: PackedConnection, conditions: list[ColumnElement[bool]], seen: int) -> tuple[int, bool]:
    """Return of how many traces the newest _COUNTED_SPANS_MAX matching spans are, and whether there may be more."""
    few = select(spans.c.trace_id).select_from(SPANS).where(all_of(conditions))
    inner = few.order_by(spans.c.time.desc()).limit(_COUNTED_SPANS_MAX).subquery()
    counted = select(func.count().label("n"), func.count(inner.c.trace_id.distinct()).label("traces"))
    with unless_too_slow():
        async with hurried(connection, COUNT_S):
            row = (await connection.execute(counted.select_from(inner))).one()
        at_least = row.n == _COUNTED_SPANS_MAX
        return max(row.traces, seen) if at_least else row.traces, at_least
    return seen, True


async def summaries(connection: PackedConnection, trace_ids: list[UUID]) -> dict[UUID, TraceSummary]:
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
