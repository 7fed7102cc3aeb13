"""The tool functions: (reader, arguments) -> answer. MCP, the JSON API and the terminal all call these."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.errors import UserInputError, did_you_mean
from storage import cursor as cursors
from storage.cursor import InvalidCursor
from storage.filters import LogQuery, TraceQuery
from storage.mapping import severity_name
from storage.reader import Reader
from storage.views import LogEntry

_HOUR_NS = 3_600 * read.NS
_DAY_NS = 24 * _HOUR_NS
Attributes = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer twice: as text, and as data with the same facts. ``found`` is False where nothing matched."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    found: bool = True


class Arguments(BaseModel):
    """Base of all arguments: unknown names are refused, numbers written as text are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(
        4000, ge=256, le=20_000, description="Size of the answer, about 4 characters a token"
    )


class Window(Arguments):
    """Arguments with a time window."""

    since: str | None = Field(
        None, description='Start: "15m", "now-2h", RFC 3339 or epoch. Default 1h before until'
    )
    until: str | None = Field(None, description="End, exclusive; same forms. Default now")
    component: str | None = Field(None, description="service.name, or namespace/name")


class QueryArguments(Window):
    """Arguments of logger_query."""

    trace_id: str | None = Field(
        None, description="32 hex digits; the window then defaults to all time"
    )
    span_id: str | None = Field(None, description="16 hex digits")
    severity_min: str | None = Field(
        None, description="trace, debug, info, warn, error, fatal, or 1-24"
    )
    text: str | None = Field(None, min_length=1, description="Part of the body, any case")
    attributes: Attributes = Field(
        default_factory=dict, description="Equal attributes of record or resource"
    )
    order: Literal["newest", "oldest"] = "newest"
    limit: int = Field(50, ge=1, le=1000)
    cursor: str | None = Field(None, description="next_cursor of the former page, same filters")
    id: int | None = Field(None, description="One record in full; no other filter counts")


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
    attributes: Attributes = Field(
        default_factory=dict, description="Equal attributes of span or resource"
    )
    sort: Literal["newest", "slowest", "errors"] = "newest"
    limit: int = Field(20, ge=1, le=200)
    cursor: str | None = None


class OverviewArguments(Arguments):
    """Arguments of logger_overview."""

    since: str | None = Field(None, description="Start of the window. Default 1h")
    until: str | None = None


class StatsArguments(Window):
    """Arguments of logger_stats."""

    group_by: list[Literal["component", "severity", "event_name"]] = Field(
        default_factory=lambda: ["component", "severity"], max_length=3
    )
    interval: str | None = Field(
        None, description='Width of a time bin, for example "1m"; none: one total'
    )
    severity_min: str | None = None
    text: str | None = Field(None, min_length=1)
    attributes: Attributes = Field(default_factory=dict)
    top: int = Field(100, ge=1, le=1000)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A time window in ns, and whether it was left to the default."""

    since_ns: int | None
    until_ns: int
    defaulted: bool

    def data(self) -> dict[str, Any]:
        """Return it for the envelope."""
        since = render.time_of(self.since_ns) if self.since_ns is not None else None
        return {"since": since, "until": render.time_of(self.until_ns), "defaulted": self.defaulted}


def _bounds(
    since: str | None, until: str | None, now_ns: int, *, default_ns: int | None = _HOUR_NS
) -> Bounds:
    end = read.time_ns(until, "until", now_ns) if until else now_ns + _DAY_NS
    if since:
        start: int | None = read.time_ns(since, "since", now_ns)
        if start is not None and start >= end:
            raise UserInputError(
                "EMPTY_WINDOW", f"since={since!r} is not before until={until or 'now'!r}"
            )
    else:
        start = None if default_ns is None else (end if until else now_ns) - default_ns
    return Bounds(start, end, not since)


async def _check_component(reader: Reader, component: str | None) -> None:
    if component is None:
        return
    known = await reader.components()
    if component not in known:
        shown = ", ".join(render.clean(name, 60) for name in known[:10]) or "none yet"
        more = f" (+{len(known) - 10})" if len(known) > 10 else ""  # noqa: PLR2004
        raise UserInputError(
            "UNKNOWN_COMPONENT",
            f'no component "{render.clean(component, 60)}" was ever seen.{did_you_mean(component, known)} Known: {shown}{more}.',
        )


async def logger_query(reader: Reader, args: QueryArguments, now_ns: int) -> Answer:
    """Return log records, one line each, newest first."""
    if args.id is not None:
        return await _one_record(reader, args.id)
    await _check_component(reader, args.component)
    trace_id = read.hex_id(args.trace_id, "trace_id", 32) if args.trace_id else None
    bounds = _bounds(
        args.since, args.until, now_ns, default_ns=None if trace_id or args.cursor else _HOUR_NS
    )
    query = LogQuery(
        component=args.component,
        trace_id=trace_id,
        span_id=read.hex_id(args.span_id, "span_id", 16) if args.span_id else None,
        severity_min=read.severity(args.severity_min) if args.severity_min else None,
        text=args.text,
        attributes=args.attributes,
        # A window that slides with the clock would be another question for the next page.
        since_ns=bounds.since_ns if args.since or not args.cursor else None,
        until_ns=bounds.until_ns if args.until else None,
        order=args.order,
        limit=args.limit,
        cursor=None,
    )
    return await _page_of_logs(reader, query, args, bounds)


async def _page_of_logs(
    reader: Reader, query: LogQuery, args: QueryArguments, bounds: Bounds
) -> Answer:
    query, question = _resume(query, args)
    try:
        page = await reader.find_logs(query)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    lines = render.fit((render.log_line(entry) for entry in page.items), args.max_tokens)
    shown = page.items[: len(lines)]
    cut = len(shown) < len(page.items)
    truncated = cut or page.next_cursor is not None
    cursor = None
    if truncated:
        last = shown[-1]
        place = cursors.encode([last.time_ns // 1000, last.id], query.canonical())
        cursor = _pack(place, query, question)
    matched = f"≥{page.matched}" if page.matched_is_lower_bound else str(page.matched)
    hints = [] if page.items else await _where_else(reader, query)
    if bounds.defaulted and query.since_ns is not None:
        hints.append("the default window of 1 hour was used; set since for more")
    left = "" if not truncated else f"; more: cursor={cursor}"
    summary = f"{len(shown)} of {matched} log records, {query.order} first{left}"
    text = "\n".join(
        [summary, *hints, *([render.FENCE, *lines, render.FENCE_END] if lines else [])]
    )
    return Answer(
        text,
        {
            "summary": summary,
            "columns": ["id", "time", "severity", "component", "body", "trace_id", "span_id"],
            "rows": [_log_row(entry) for entry in shown],
            "returned": len(shown),
            "matched": page.matched if not page.matched_is_lower_bound else matched,
            "truncated": truncated,
            "truncated_by": "max_tokens" if cut else "limit" if truncated else None,
            "next_cursor": cursor,
            "window": bounds.data(),
            "hints": hints,
            "untrusted_data": True,
        },
        found=bool(shown),
    )


def _resume(query: LogQuery, args: QueryArguments) -> tuple[LogQuery, str]:
    """Return the query of the page, with the window its first page had; and the question without window."""
    question = LogQuery(
        **{n: getattr(query, n) for n in query.__slots__} | {"since_ns": None, "until_ns": None}
    ).canonical()
    if args.cursor is None:
        return query, question
    window, _, place = args.cursor.partition("~")
    try:
        since, until = cursors.decode(window, question)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    fields = {n: getattr(query, n) for n in query.__slots__}
    return LogQuery(**fields | {"since_ns": since, "until_ns": until, "cursor": place}), question


def _pack(place: str, query: LogQuery, question: str) -> str:
    """Return a cursor that brings its window along: a relative one would be another window on the next page."""
    return f"{cursors.encode([query.since_ns, query.until_ns], question)}~{place}"


def _log_row(entry: LogEntry) -> list[Any]:
    body = entry.body if entry.body is not None else entry.event_name
    severity = entry.severity_text or severity_name(entry.severity_number)
    return [
        entry.id,
        render.time_of(entry.time_ns),
        render.clean(severity, 20),
        render.clean(entry.component, 120),
        render.clean(body),
        entry.trace_id,
        entry.span_id,
    ]


async def _where_else(reader: Reader, query: LogQuery) -> list[str]:
    before, after = await reader.nearest_data(query)
    if before is None and after is None:
        return (
            ["nothing matches outside of this window either"] if query.since_ns is not None else []
        )
    near = [f"last before it at {render.time_of(before)}"] if before else []
    near += [f"first after it at {render.time_of(after)}"] if after else []
    return [f"nothing in this window; the nearest that matches: {', '.join(near)}"]


async def _one_record(reader: Reader, identifier: int) -> Answer:
    entry = await reader.get_log(identifier)
    if entry is None:
        raise UserInputError(
            "UNKNOWN_ID",
            f"no log record has id {identifier}; ids stand first in each line of logger_query",
        )
    record = asdict(entry) | {"time": render.time_of(entry.time_ns)}
    lines = [f"{name}: {render.clean(str(value), 200_000)}" for name, value in record.items()]
    return Answer(
        "\n".join([f"log record {identifier}", render.FENCE, *lines, render.FENCE_END]),
        {"record": record, "untrusted_data": True},
    )


async def logger_trace(reader: Reader, args: TraceArguments, now_ns: int) -> Answer:
    """Return one whole trace."""
    del now_ns
    trace_id = read.hex_id(args.trace_id, "trace_id", 32)
    trace = await reader.get_trace(trace_id)
    if trace is None:
        info = await reader.store_info()
        oldest = min((t for t in info.oldest_ns.values() if t), default=None)
        edge = (
            f"the oldest record kept is of {render.time_of(oldest)}"
            if oldest
            else "nothing is stored yet"
        )
        raise UserInputError(
            "UNKNOWN_TRACE",
            f"no span or log record of trace {trace_id} is stored; {edge}. It may still be on its way (SDKs send every "
            "few seconds), or was never sampled. logger_search_traces finds others.",
        )
    header = render.trace_header(trace)
    spans_out = logs_out = 0
    if args.view == "summary":
        lines = sorted(
            {f"{render.clean(s.component, 120)} {render.clean(s.name, 200)}" for s in trace.spans}
        )
        lines = render.fit(lines, args.max_tokens)
    elif args.view == "tree":
        lines, spans_out, logs_out = render.trace_tree(trace, args.max_tokens)
    else:
        lines, spans_out, logs_out = _flat_view(trace, args)
    out = (
        f"left out: {spans_out} spans, {logs_out} logs (raise max_tokens, or view=errors)"
        if spans_out or logs_out
        else "complete"
    )
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
        "truncated": bool(spans_out or logs_out),
        "untrusted_data": True,
    }
    return Answer(text, data)


def _flat_view(trace: Any, args: TraceArguments) -> tuple[list[str], int, int]:
    """Return a list of spans, of logs, or of what failed, and what the budget left out of it."""
    failed = args.view == "errors"
    spans = (
        [s for s in trace.spans if not failed or s.status == "error"] if args.view != "logs" else []
    )
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
    return kept, len(spans) - spans_kept, len(logs) - (len(kept) - spans_kept)


async def logger_search_traces(reader: Reader, args: SearchTracesArguments, now_ns: int) -> Answer:
    """Return summaries of traces with a span that matches."""
    await _check_component(reader, args.component)
    bounds = _bounds(args.since, args.until, now_ns, default_ns=None if args.cursor else _DAY_NS)
    query = TraceQuery(
        component=args.component,
        name=args.name,
        status=args.status,
        min_duration_ns=read.duration_ns(args.min_duration, "min_duration")
        if args.min_duration
        else None,
        max_duration_ns=read.duration_ns(args.max_duration, "max_duration")
        if args.max_duration
        else None,
        attributes=args.attributes,
        since_ns=_minute(bounds.since_ns),
        until_ns=bounds.until_ns if args.until else None,
        sort=args.sort,
        limit=args.limit,
    )
    question = TraceQuery(
        **{n: getattr(query, n) for n in query.__slots__} | {"since_ns": None, "until_ns": None}
    ).canonical()
    if args.cursor:
        window, _, place = args.cursor.partition("~")
        query = _with_window(query, window, question, place)
    try:
        page = await reader.find_traces(query)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    lines = [_trace_line(t) for t in page.items]
    cursor = None
    if page.next_cursor:
        cursor = f"{cursors.encode([query.since_ns, query.until_ns], question)}~{page.next_cursor}"
    matched = f"≥{page.matched}" if page.matched_is_lower_bound else page.matched
    summary = f"{len(lines)} of {matched} traces, {args.sort} first" + (
        f"; more: cursor={cursor}" if cursor else ""
    )
    hints = (
        ["the default window of 24 hours was used; set since for more"]
        if bounds.defaulted and not args.cursor
        else []
    )
    text = "\n".join(
        [summary, *hints, *([render.FENCE, *lines, render.FENCE_END] if lines else [])]
    )
    return Answer(
        text,
        {
            "summary": summary,
            "traces": [_trace_data(t) for t in page.items],
            "returned": len(lines),
            "matched": matched,
            "truncated": cursor is not None,
            "next_cursor": cursor,
            "window": bounds.data(),
            "hints": hints,
            "untrusted_data": True,
        },
        found=bool(lines),
    )


def _with_window(query: TraceQuery, window: str, question: str, place: str) -> TraceQuery:
    try:
        since, until = cursors.decode(window, question)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    return TraceQuery(
        **{n: getattr(query, n) for n in query.__slots__}
        | {"since_ns": since, "until_ns": until, "cursor": place}
    )


def _minute(time_ns: int | None) -> int | None:
    return None if time_ns is None else time_ns


def _trace_line(trace: Any) -> str:
    error = (
        f"  {trace.error_count} errors: {render.clean(trace.first_error or '', 160)}"
        if trace.error_count
        else ""
    )
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


async def logger_overview(reader: Reader, args: OverviewArguments, now_ns: int) -> Answer:
    """Return what is there: components with counts, edges of the store, how fresh it is."""
    bounds = _bounds(args.since, args.until, now_ns)
    info = await reader.store_info()
    stats = await reader.component_stats(bounds.since_ns or 0, bounds.until_ns)
    newest = max((t for t in info.newest_ns.values() if t), default=None)
    oldest = min((t for t in info.oldest_ns.values() if t), default=None)
    lag = f"{max(0, now_ns - newest) / read.NS:.1f} s ago" if newest else "never"
    summary = f"{len(stats)} components active; newest record {lag}; oldest kept {render.time_of(oldest) if oldest else 'none'}"
    lines = [
        f"{render.clean(s.component, 120)}  logs {s.log_count}"
        + "".join(f" {name} {count}" for name, count in sorted(s.by_severity.items()))
        + f"  spans {s.span_count}, {s.error_span_count} errors  last {render.time_of(s.last_seen_ns)}"
        for s in stats
    ]
    kept = render.fit(lines, args.max_tokens)
    out = (
        [f"{len(lines) - len(kept)} more components: raise max_tokens"]
        if len(kept) < len(lines)
        else []
    )
    text = "\n".join(
        [f"now {render.time_of(now_ns)}; {summary}", *out, render.FENCE, *kept, render.FENCE_END]
    )
    data = {
        "summary": summary,
        "now": render.time_of(now_ns),
        "window": bounds.data(),
        "components": [
            asdict(s) | {"component": render.clean(s.component, 120)} for s in stats[: len(kept)]
        ],
        "components_left_out": len(lines) - len(kept),
        "store": asdict(info),
        "freshness_lag_ms": None if newest is None else max(0, now_ns - newest) // 1_000_000,
        "untrusted_data": True,
    }
    return Answer(text, data, found=bool(stats))


async def logger_stats(reader: Reader, args: StatsArguments, now_ns: int) -> Answer:
    """Return exact counts of log records by group and time bin."""
    await _check_component(reader, args.component)
    bounds = _bounds(args.since, args.until, now_ns)
    interval_s = None
    if args.interval:
        interval_s = read.duration_ns(args.interval, "interval") // read.NS
        if interval_s < 1:
            raise UserInputError(
                "INVALID_DURATION",
                f'interval={args.interval!r} must be 1s or more, for example "1m"',
            )
    query = LogQuery(
        component=args.component,
        severity_min=read.severity(args.severity_min) if args.severity_min else None,
        text=args.text,
        attributes=args.attributes,
        since_ns=bounds.since_ns,
        until_ns=bounds.until_ns,
    )
    counts = await reader.log_counts(query, args.group_by, interval_s, args.top + 1)
    cut = len(counts) > args.top
    rows = [
        {"start": render.time_of(c.start_ns) if c.start_ns is not None else None}
        | {k: render.clean(str(v), 120) for k, v in c.group.items()}
        | {"count": c.count}
        for c in counts[: args.top]
    ]
    lines = ["  ".join(str(v) for v in row.values() if v is not None) for row in rows]
    kept = render.fit(lines, args.max_tokens)
    total = sum(c.count for c in counts[: len(kept)])
    more = cut or len(kept) < len(rows)
    summary = f"{total} log records in {len(kept)} groups" + (
        "; there are more groups: raise top or max_tokens" if more else ""
    )
    text = "\n".join([summary, *([render.FENCE, *kept, render.FENCE_END] if kept else [])])
    data = {
        "summary": summary,
        "groups": rows[: len(kept)],
        "truncated": more,
        "window": bounds.data(),
        "untrusted_data": True,
    }
    return Answer(text, data, found=bool(kept))


Function = Callable[[Reader, Any, int], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: its arguments, its function, the role it needs, and what an agent reads about it."""

    arguments: type[Arguments]
    function: Function
    title: str
    description: str
    role: str = "read"


TOOLS: dict[str, Tool] = {
    "logger_overview": Tool(
        OverviewArguments,
        logger_overview,
        "Overview",
        "What is there: each component with its log counts by severity, spans and errors in a window, how fresh the "
        "data is and how far back it goes. Start here.",
    ),
    "logger_query": Tool(
        QueryArguments,
        logger_query,
        "Log records",
        "Log records by component, trace, span, least severity, text and attributes, newest first, one line each; "
        "id=… shows one record in full. next_cursor continues without gap or repeat.",
    ),
    "logger_trace": Tool(
        TraceArguments,
        logger_trace,
        "One trace",
        "One whole request by its trace id: the tree of spans of every component, with the log records of each span. "
        "Says what it left out.",
    ),
    "logger_search_traces": Tool(
        SearchTracesArguments,
        logger_search_traces,
        "Search traces",
        "Traces with a span of a component, name, status, duration or attributes; newest, slowest or failed first, "
        "each with its root, span count and first error.",
    ),
    "logger_stats": Tool(
        StatsArguments,
        logger_stats,
        "Counts",
        "Exact counts of log records by component, severity or event name, in all or by time bins.",
    ),
}
