"""logger_search_traces: which traces there are; each with its root, its size and what failed first."""

from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import DAY_NS, Answer, Asked, Attributes, Window, bounds_of, check_component
from mcp_tools.errors import UserInputError
from mcp_tools.language import SPANS_QUERY, read_query
from mcp_tools.paging import pack, resume
from storage.cursor import InvalidCursor
from storage.filters import TraceQuery
from storage.reader import Reader
from storage.views import Page, TraceSummary

# What stands around the rows: two copies of the cursor, the window, the hints.
_ENVELOPE_TOKENS = 250


class SearchTracesArguments(Window):
    """Arguments of logger_search_traces."""

    # query= says the same.
    unlisted: ClassVar[frozenset[str]] = frozenset({"attributes"})

    since: str | None = Field(None, description='"15m", RFC 3339 or epoch. Default 24h')
    name: str | None = Field(None, description="Span name")
    status: Literal["error", "ok", "unset"] | None = None
    min_duration: str | None = Field(None, description='For example "250ms"')
    max_duration: str | None = None
    query: str | None = Field(None, description=SPANS_QUERY)
    attributes: Attributes = Field(default_factory=dict, description="Equal attributes of span or resource")
    sort: Literal["newest", "slowest", "errors"] = Field("newest", description="errors: failed ones alone, most first")
    limit: int = Field(20, ge=1, le=200)
    cursor: str | None = None


async def logger_search_traces(reader: Reader, args: SearchTracesArguments, asked: Asked) -> Answer:
    """Return summaries of traces with a span that matches."""
    await check_component(reader, args.component)
    bounds = bounds_of(args.since, args.until, asked.now_ns, default_ns=None if args.cursor else DAY_NS)
    query = TraceQuery(
        component=args.component,
        name=args.name,
        status=args.status,
        min_duration_ns=read.duration_ns(args.min_duration, "min_duration") if args.min_duration else None,
        max_duration_ns=read.duration_ns(args.max_duration, "max_duration") if args.max_duration else None,
        attributes=args.attributes,
        query=await read_query(reader, args.query, "spans"),
        since_ns=bounds.since_ns,
        until_ns=bounds.until_ns if args.until else None,
        sort=args.sort,
        limit=args.limit,
    )
    query = resume(query, args.cursor)
    page = await _find(reader, query)
    fitting = len(_fitting(page.items, args.max_tokens))
    cut = fitting < len(page.items)
    if cut:  # asked again for as many as fit: only the store knows where the next page begins
        page = await _find(reader, replace(query, limit=fitting))
    lines = [_trace_line(t) for t in page.items]
    cursor = None
    if page.next_cursor:
        cursor = pack(page.next_cursor, query)
    matched = f"≥{page.matched}" if page.matched_is_lower_bound else page.matched
    summary = f"{len(lines)} of {matched} traces, {args.sort} first" + (f"; more: cursor={cursor}" if cursor else "")
    hints = (
        ["the default window of 24 hours was used; set since for more"] if bounds.defaulted and not args.cursor else []
    )
    if page.stopped is not None:
        goes_on = "the cursor goes on" if query.sort == "newest" else "a shorter window or a component reads all"
        looked_at = f"{page.stopped.searched} of about {page.stopped.about} spans, the newest"
        hints.insert(0, f"stopped after {looked_at}; {goes_on}")
    text = "\n".join([summary, *hints, *([render.FENCE, *lines, render.FENCE_END] if lines else [])])
    return Answer(
        text,
        {
            "summary": summary,
            "traces": [_trace_data(t) for t in page.items],
            "returned": len(lines),
            "matched": matched,
            "truncated": cursor is not None or page.stopped is not None,
            "truncated_by": "max_tokens" if cut else "scan_budget" if page.stopped else "limit" if cursor else None,
            "next_cursor": cursor,
            "window": bounds.data(),
            "hints": hints,
            "untrusted_data": True,
        },
        found=bool(lines),
    )


async def _find(reader: Reader, query: TraceQuery) -> Page[TraceSummary]:
    try:
        return await reader.find_traces(query)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error


def _fitting(traces: list[TraceSummary], max_tokens: int) -> list[str]:
    """Return the lines of the traces that fit, as text and as data."""
    lines = [_trace_line(t) for t in traces]
    return render.fit(lines, max_tokens, also=[_trace_data(t) for t in traces], reserve=_ENVELOPE_TOKENS)


def _trace_line(trace: Any) -> str:
    error = ""
    if trace.error_count:
        where, what = (render.clean(text or "", 160) for text in (trace.error_span, trace.first_error))
        # A span that failed without a word is told by its name, once.
        error = f"  {trace.error_count} errors, first in {where}" + ("" if where.endswith(what) else f": {what}")
    return (
        f"{trace.trace_id} {render.time_of(trace.start_ns)} {render.duration(trace.duration_ns)} "
        f"{render.clean(trace.root_component, 120)} {render.clean(trace.root_name, 160)}  {trace.span_count} spans in "
        f"{len(trace.components)} components{error}"
    )


def _trace_data(trace: Any) -> dict[str, Any]:
    data = asdict(trace)
    for name in ("root_component", "root_name"):
        data[name] = render.clean(data[name], 160)
    for name in ("first_error", "error_span"):
        data[name] = render.clean(data[name], 160) if data[name] else None
    data["components"] = [render.clean(c, 120) for c in trace.components]
    return data | {"start": render.time_of(trace.start_ns)}
