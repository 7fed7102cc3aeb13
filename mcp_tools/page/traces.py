"""Traces: the search, one trace as a waterfall, one span in full."""

import asyncio
import gzip
from dataclasses import asdict
from typing import Any, Literal, cast

from starlette.requests import Request
from starlette.responses import Response

from mcp_tools import arguments as read
from mcp_tools.answers import DAY_NS, bounds_of
from mcp_tools.errors import UserInputError
from mcp_tools.language import expression
from mcp_tools.page.records import data_of
from mcp_tools.page.session import Sessions
from mcp_tools.page.shell import twin
from mcp_tools.page.show import stamp
from mcp_tools.page.visit import Shown, Visit
from mcp_tools.page.waterfall import Waterfall, columns, failures, loose_logs, rows, waterfall
from mcp_tools.paging import pack, resume
from mcp_tools.trace_shape import shape_of
from storage.cursor import InvalidCursor
from storage.errors import QueryTimeout
from storage.filters import TraceQuery
from storage.reading.trace_parts import PartsQuery
from storage.views import LogEntry, SpanEntry, TraceSummary

PAGE_TRACES = 50
ROWS_SENT = 300
"""Rows in the page itself; the browser draws all of them from the columns that it fetches."""
SPANS_SENT_MAX = 2_000
"""Spans that are read for the page itself: its first paint does not grow with the trace."""
SPANS_MAX = 100_000
LOGS_MAX = 5_000
_FAILURES_MAX = 8
_PARTS_MAX = 200
_GZIP_LEVEL = 4
_LOOK_S = 0.25
_SORTS = ("newest", "slowest", "errors")


async def search(visit: Visit) -> Shown:
    """Return traces with a span that matches, newest, slowest or failed first."""
    more = {"sorts": _SORTS}
    try:
        found = await _found(visit)
    except UserInputError as error:
        nothing = {"traces": [], "matched": 0, "at_least": False, "next_cursor": None, "slowest_ns": 1, "empty": False}
        return Shown("traces.html", "Traces", nothing, more, error)
    return Shown("traces.html", "Traces", found, more)


async def _found(visit: Visit) -> dict[str, Any]:
    bounds = bounds_of(visit.param("since"), visit.param("until"), visit.now_ns, default_ns=DAY_NS)
    sort = visit.param("sort") or "newest"
    if sort not in _SORTS:
        raise UserInputError("INVALID_ARGUMENT", f"sort={sort[:40]!r}; one of {', '.join(_SORTS)}")
    query = TraceQuery(
        component=visit.param("component"),
        query=expression(visit.param("q"), "spans"),
        since_ns=bounds.since_ns,
        until_ns=bounds.until_ns if visit.param("until") else None,
        sort=cast("Literal['newest', 'slowest', 'errors']", sort),
        limit=PAGE_TRACES,
    )
    query = resume(query, visit.param("cursor"))
    try:
        page = await visit.reader.find_traces(query)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    except QueryTimeout as error:
        raise UserInputError("TIMEOUT", f"{error}; a shorter window or a component helps") from error
    return {
        "traces": [_summary(t) for t in page.items],
        "matched": page.matched,
        "at_least": page.matched_is_lower_bound,
        "next_cursor": pack(page.next_cursor, query) if page.next_cursor else None,
        "slowest_ns": max((t.duration_ns for t in page.items), default=1),
        "empty": not page.items and not await visit.reader.components(),
    }


def _summary(trace: TraceSummary) -> dict[str, Any]:
    return asdict(trace) | {"start": stamp(trace.start_ns)}


async def drawn(visit: Visit, trace_id: str, spans_max: int, logs_max: int = LOGS_MAX) -> Waterfall:
    """Return the waterfall of a trace. Raises UserInputError."""
    trace_id = read.hex_id(trace_id, "trace_id", 32)
    outline = await visit.reader.trace_outline(trace_id, spans_max, logs_max)
    if outline is None:
        raise UserInputError(
            "UNKNOWN_TRACE",
            f"nothing of trace {trace_id} is stored. It may still be on its way (SDKs send every few seconds), "
            "may have expired, or was never sampled.",
        )
    # Large traces take a while; others are answered meanwhile.
    return await asyncio.to_thread(lambda: waterfall(outline, shape_of(outline.spans)))


async def view(visit: Visit) -> Shown:
    """Return one trace: what it is, what failed, its first rows, and the span that is chosen. Raises UserInputError."""
    trace = await drawn(visit, visit.path_params["trace_id"], SPANS_SENT_MAX, ROWS_SENT)
    chosen = visit.param("span")
    found, whole = trace.outline, trace.shape
    data = {
        "trace_id": found.trace_id,
        "start": stamp(trace.start_ns),
        "start_ns": trace.start_ns,
        "duration_ns": trace.end_ns - trace.start_ns,
        "spans": len(found.spans) + found.spans_left_out,
        "logs": len(found.logs) + found.logs_left_out,
        "errors": sum(s.status == "error" for s in found.spans),
        "components": trace.components,
        "failures": failures(trace, _FAILURES_MAX),
        "rows": rows(trace, 0, ROWS_SENT),
        "loose_logs": loose_logs(trace),
        "rows_left_out": len(whole.spans) + found.spans_left_out - min(len(whole.spans), ROWS_SENT),
        "chosen": await _chosen(visit, found.trace_id, chosen) if chosen else None,
    }
    root = whole.spans[whole.order[0]] if whole.order else None
    title = f"{root.component} {root.name}" if root else f"Trace {found.trace_id}"
    return Shown("trace.html", title, data, {"root": root})


async def span_view(visit: Visit) -> Shown:
    """Return one span in full with its log records. Raises UserInputError."""
    trace_id = read.hex_id(visit.path_params["trace_id"], "trace_id", 32)
    chosen = await _chosen(visit, trace_id, visit.path_params["span_id"])
    return Shown("span.html", "Span", {"trace_id": trace_id, "chosen": chosen})


async def _chosen(visit: Visit, trace_id: str, span_id: str) -> dict[str, Any]:
    query = PartsQuery(trace_id=trace_id, span_ids=[read.hex_id(span_id, "span", 16)], limit=_PARTS_MAX)
    parts = [part for _, part in await visit.reader.trace_parts(query)]
    return {
        "span_id": query.span_ids[0],
        "spans": [_span(part) for part in parts if isinstance(part, SpanEntry)],
        "logs": [data_of(part) for part in parts if isinstance(part, LogEntry)],
    }


def _span(span: SpanEntry) -> dict[str, Any]:
    return asdict(span) | {"time": stamp(span.time_ns)}


async def shape(visit: Visit, request: Request, sessions: Sessions) -> Response:
    """Return a whole trace as columns (``mcp_tools.page.waterfall.columns``), compressed where the browser takes it."""
    del sessions
    reading = asyncio.create_task(drawn(visit, visit.path_params["trace_id"], SPANS_MAX))
    try:
        # Who reloads the page does not wait for the former answer: its question is given up, and its connection free.
        while not (await asyncio.wait({reading}, timeout=_LOOK_S))[0]:
            if await request.is_disconnected():
                return Response(status_code=503)
    finally:
        reading.cancel()
    trace = await reading
    content = await asyncio.to_thread(lambda: twin(columns(trace)))
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(content, media_type="application/json")
    # It holds no secret of a session, nothing of the request stands in it: compressing gives nothing away.
    packed = await asyncio.to_thread(gzip.compress, content, _GZIP_LEVEL)
    return Response(packed, media_type="application/json", headers={"Content-Encoding": "gzip"})
