"""logger_query: log records by what is known of them; a cursor brings its window along."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import HOUR_NS, Answer, Asked, Attributes, Bounds, Window, bounds_of, check_component
from mcp_tools.errors import UserInputError
from mcp_tools.paging import pack, resume
from storage import cursor as cursors
from storage.cursor import InvalidCursor
from storage.errors import QueryTimeout
from storage.filters import LogQuery
from storage.mapping import severity_name
from storage.reader import Reader
from storage.views import LogEntry

# What stands around the rows: two copies of the cursor, the window, the hints.
_ENVELOPE_TOKENS = 220
_RECORD_ENVELOPE_TOKENS = 80


class QueryArguments(Window):
    """Arguments of logger_query."""

    trace_id: str | None = Field(None, description="32 hex digits; the window then defaults to all time")
    span_id: str | None = Field(None, description="16 hex digits")
    severity_min: str | None = Field(None, description="trace, debug, info, warn, error, fatal, or 1-24")
    text: str | None = Field(None, min_length=1, description="Part of the body, any case")
    attributes: Attributes = Field(default_factory=dict, description="Equal attributes of record or resource")
    order: Literal["newest", "oldest"] = "newest"
    limit: int = Field(50, ge=1, le=1000)
    cursor: str | None = Field(None, description="next_cursor of the former page, same filters")
    id: int | None = Field(None, ge=1, le=2**63 - 1, description="One record in full; no other filter counts")


async def logger_query(reader: Reader, args: QueryArguments, asked: Asked) -> Answer:
    """Return log records, one line each, newest first."""
    if args.id is not None:
        return await _one_record(reader, args.id, args.max_tokens)
    await check_component(reader, args.component)
    trace_id = read.hex_id(args.trace_id, "trace_id", 32) if args.trace_id else None
    bounds = bounds_of(args.since, args.until, asked.now_ns, default_ns=None if trace_id or args.cursor else HOUR_NS)
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


async def _page_of_logs(reader: Reader, query: LogQuery, args: QueryArguments, bounds: Bounds) -> Answer:
    query = resume(query, args.cursor)
    try:
        page = await reader.find_logs(query)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    rows = [_log_row(entry) for entry in page.items]
    lines = render.fit(
        [render.log_line(entry) for entry in page.items], args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS
    )
    shown = page.items[: len(lines)]
    cut = len(shown) < len(page.items)
    truncated = cut or page.next_cursor is not None
    cursor = None
    if truncated:
        last = shown[-1]
        place = cursors.encode([last.time_ns // 1000, last.id], query.canonical())
        cursor = pack(place, query)
    matched = f"≥{page.matched}" if page.matched_is_lower_bound else str(page.matched)
    hints = [] if page.items else await _where_else(reader, query)
    if bounds.defaulted and query.since_ns is not None:
        hints.append("the default window of 1 hour was used; set since for more")
    left = "" if not truncated else f"; more: cursor={cursor}"
    summary = f"{len(shown)} of {matched} log records, {query.order} first{left}"
    text = "\n".join([summary, *hints, *([render.FENCE, *lines, render.FENCE_END] if lines else [])])
    return Answer(
        text,
        {
            "summary": summary,
            "columns": ["id", "time", "severity", "component", "body", "trace_id", "span_id"],
            "rows": rows[: len(shown)],
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
    try:
        before, after = await reader.nearest_data(query)
    except QueryTimeout:  # a courtesy; the empty answer itself stands
        return []
    if before is None and after is None:
        return ["nothing matches outside of this window either"] if query.since_ns is not None else []
    near = [f"last before it at {render.time_of(before)}"] if before else []
    near += [f"first after it at {render.time_of(after)}"] if after else []
    return [f"nothing in this window; the nearest that matches: {', '.join(near)}"]


async def _one_record(reader: Reader, identifier: int, max_tokens: int) -> Answer:
    """Return one record in full, or as much of each long field as the budget holds, cut visibly."""
    entry = await reader.get_log(identifier)
    if entry is None:
        raise UserInputError(
            "UNKNOWN_ID",
            f"no log record has id {identifier}; ids stand first in each line of logger_query",
        )
    record = asdict(entry) | {"time": render.time_of(entry.time_ns)}
    shown, cut = render.fit_fields(record, max_tokens, reserve=_RECORD_ENVELOPE_TOKENS)
    out = [f"left out: the ends of {', '.join(cut)} (raise max_tokens)"] if cut else []
    lines = [f"{name}: {value}" for name, value in shown.items()]
    return Answer(
        "\n".join([f"log record {identifier}", *out, render.FENCE, *lines, render.FENCE_END]),
        {
            "record": record | {name: shown[name] for name in cut},
            "truncated": bool(cut),
            "truncated_by": "max_tokens" if cut else None,
            "fields_cut": cut,
            "untrusted_data": True,
        },
    )
