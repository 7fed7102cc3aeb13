"""logger_trace and logger_search_traces: one whole request, and the way to find it."""

from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import DAY_NS, Answer, Arguments, Asked, Attributes, Window, bounds_of, check_component
from mcp_tools.errors import UserInputError
from mcp_tools.paging import pack, resume
from storage.cursor import InvalidCursor
from storage.filters import TraceQuery
from storage.reader import Reader
from storage.views import Page, TraceSummary

# What stands around the rows: two copies of the cursor, the window, the hints.
_ENVELOPE_TOKENS = 250


class TraceArguments(Arguments):
    """Arguments of logger_trace."""

    trace_id: str = Field(description="32 hex digits")
    view: Literal["tree", "logs", "spans", "errors", "summary"] = Field(
        "tree",
        description="tree: spans with their logs; spans, logs: lists; errors: only what failed",
    )


class SearchTracesArguments(Window):
    """Arguments of logger_search_traces."""

    name: str | None = Field(None, description="Span name")
    status: Literal["error", "ok", "unset"] | None = None
    min_duration: str | None = Field(None, description='For example "250ms"')
    max_duration: str | None = None
    attributes: Attributes = Field(default_factory=dict, description="Equal attributes of span or resource")
    sort: Literal["newest", "slowest", "errors"] = "newest"
    limit: int = Field(20, ge=1, le=200)
    cursor: str | None = None


async def logger_trace(reader: Reader, args: TraceArguments, asked: Asked) -> Answer:
    """Return one whole trace."""
    del asked
    trace_id = read.hex_id(args.trace_id, "trace_id", 32)
    trace = await reader.get_trace(trace_id)
    if trace is None:
        info = await reader.store_info()
        oldest = min((t for t in info.oldest_ns.values() if t), default=None)
        edge = f"the oldest record kept is of {render.time_of(oldest)}" if oldest else "nothing is stored yet"
        raise UserInputError(
            "UNKNOWN_TRACE",
            f"no span or log record of trace {trace_id} is stored; {edge}. It may still be on its way (SDKs send every "
            "few seconds), or was never sampled. logger_search_traces finds others.",
        )
    header = render.trace_header(trace)
    spans_out = logs_out = names_out = 0
    if args.view == "summary":
        lines = sorted({f"{render.clean(s.component, 120)} {render.clean(s.name, 200)}" for s in trace.spans})
        every = len(lines)
        lines = render.fit(lines, args.max_tokens)
        names_out = every - len(lines)
    elif args.view == "tree":
        lines, spans_out, logs_out = render.trace_tree(trace, args.max_tokens)
    else:
        lines, spans_out, logs_out = _flat_view(trace, args)
    out = _left_out(args.view, spans_out, logs_out, names_out)
    text = "\n".join([header, out, render.FENCE, *lines, render.FENCE_END])
    data = {
        "summary": header,
        "trace_id": trace_id,
        "view": args.view,
        "lines": lines,
        "spans": len(trace.spans) + trace.spans_left_out,
        "logs": len(trace.logs) + trace.logs_left_out,
        "spans_left_out": spans_out,
        "logs_left_out": logs_out,
        "names_left_out": names_out,
        "truncated": bool(spans_out or logs_out or names_out),
        "untrusted_data": True,
    }
    return Answer(text, data)


def _left_out(view: str, spans: int, logs: int, names: int) -> str:
    if names:
        return f"left out: {names} names (raise max_tokens)"
    if not spans and not logs:
        return "complete"
    return f"left out: {spans} spans, {logs} logs (raise max_tokens{'' if view == 'errors' else ', or view=errors'})"


def _flat_view(trace: Any, args: TraceArguments) -> tuple[list[str], int, int]:
    """Return a list of spans, of logs, or of what failed, and what the budget left out of it."""
    failed = args.view == "errors"
    spans = [s for s in trace.spans if not failed or s.status == "error"] if args.view != "logs" else []
    logs = (
        [e for e in trace.logs if not failed or e.severity_number >= read.SEVERITIES["error"]]
        if args.view != "spans"
        else []
    )
    lines = [
        f"{render.time_of(s.time_ns)} {render.clean(s.component, 120)} {render.clean(s.name, 200)} {s.kind} "
        f"{render.duration(s.duration_ns)} {s.status} {render.clean(s.status_message, 200)} [{s.span_id}]"
        for s in spans
    ]
    lines += [render.log_line(entry) for entry in logs]
    kept = render.fit(lines, args.max_tokens)
    spans_kept = min(len(kept), len(spans))
    # What the read itself cut was not looked at: it counts as left out of every list it could stand in.
    spans_unread = trace.spans_left_out if args.view != "logs" else 0
    logs_unread = trace.logs_left_out if args.view != "spans" else 0
    return (
        kept,
        len(spans) - spans_kept + spans_unread,
        len(logs) - (len(kept) - spans_kept) + logs_unread,
    )


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
    text = "\n".join([summary, *hints, *([render.FENCE, *lines, render.FENCE_END] if lines else [])])
    return Answer(
        text,
        {
            "summary": summary,
            "traces": [_trace_data(t) for t in page.items],
            "returned": len(lines),
            "matched": matched,
            "truncated": cursor is not None,
            "truncated_by": "max_tokens" if cut else "limit" if cursor else None,
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
    error = f"  {trace.error_count} errors: {render.clean(trace.first_error or '', 160)}" if trace.error_count else ""
    return (
        f"{trace.trace_id} {render.time_of(trace.start_ns)} {render.duration(trace.duration_ns)} "
        f"{render.clean(trace.root_component, 120)} {render.clean(trace.root_name, 160)}  {trace.span_count} spans in "
        f"{len(trace.components)} components{error}"
    )


def _trace_data(trace: Any) -> dict[str, Any]:
    data = asdict(trace)
    for name in ("root_component", "root_name"):
        data[name] = render.clean(data[name], 160)
    data["first_error"] = render.clean(trace.first_error, 160) if trace.first_error else None
    data["components"] = [render.clean(c, 120) for c in trace.components]
    return data | {"start": render.time_of(trace.start_ns)}
