"""logger_query: log records by what is known of them; a cursor brings its window along."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import HOUR_NS, Answer, Asked, Bounds
from mcp_tools.emptiness import hints_for_nothing
from mcp_tools.errors import UserInputError, did_you_mean
from mcp_tools.folding import Collapse, Fold, fold
from mcp_tools.log_filters import LogFilters, log_question
from mcp_tools.log_record import Around, one_record, surroundings
from mcp_tools.paging import pack, resume
from mcp_tools.tail import COLUMNS, message_row
from storage import cursor as cursors
from storage.cursor import InvalidCursor
from storage.filters import LIMIT_MAX, LogQuery
from storage.mapping import severity_name
from storage.reader import Reader
from storage.reading.messages import place_of
from storage.views import LogEntry, LogNode, Page, Stopped

# What stands around the rows: two copies of the cursor, the window, the hints.
_ENVELOPE_TOKENS = 240
# No line of a record is shorter: more records than fit are not read.
_LINE_CHARS_MIN = 60
# " ×1234 from 2026-11-27T10:00:00.000Z" and the two columns of it.
_FOLD_CHARS = 48
_MORE_COLUMNS = ("event_name", "scope_name")


class QueryArguments(LogFilters):
    """Arguments of logger_query."""

    unlisted: ClassVar[frozenset[str]] = LogFilters.unlisted | {"span_id"}

    trace_id: str | None = Field(None, description="32 hex digits; the window then defaults to all time")
    span_id: str | None = Field(None, description="16 hex digits")
    order: Literal["newest", "oldest"] = "newest"
    limit: int = Field(50, ge=1, le=1000, description="Lines")
    cursor: str | None = Field(None, description="next_cursor of the former page, same filters")
    collapse: Collapse = Field(
        "none", description="repeats: equal neighbours as one line ×N; patterns: wherever they are"
    )
    fields: list[str] = Field(default=[], max_length=20, description="Only these: time, body, any attribute key")
    id: int | None = Field(None, ge=1, le=2**63 - 1, description="One record in full; no other filter counts")
    around: Around | None = Field(None, description="What was logged beside a record")


async def logger_query(reader: Reader, args: QueryArguments, asked: Asked) -> Answer:
    """Return log records, one line each, newest first."""
    if args.id is not None:
        return await one_record(reader, args.id, args.fields, args.cursor, args.max_tokens)
    if args.collapse != "none" and args.fields:
        raise UserInputError("INVALID_ARGUMENT", "fields and collapse exclude each other; leave one out")
    trace_id = read.hex_id(args.trace_id, "trace_id", 32) if args.trace_id else None
    no_window = trace_id or args.cursor or args.around
    query, bounds = await log_question(reader, args, asked, default_ns=None if no_window else HOUR_NS)
    if args.around is not None:
        return await surroundings(reader, args.around, query, args.max_tokens)
    query = replace(
        query,
        trace_id=trace_id,
        span_id=read.hex_id(args.span_id, "span_id", 16) if args.span_id else None,
        # A window that slides with the clock would be another question for the next page.
        since_ns=bounds.since_ns if args.since or not args.cursor else None,
        until_ns=bounds.until_ns if args.until else None,
        order=args.order,
    )
    query = resume(query, args.cursor)
    try:
        if args.collapse != "none":
            return await _folded(reader, query, args, bounds)
        return await _listed(reader, query, args, bounds)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error


async def _listed(reader: Reader, query: LogQuery, args: QueryArguments, bounds: Bounds) -> Answer:
    """Return a page of one line a record."""
    fitting = args.max_tokens * render.CHARS_A_TOKEN // _LINE_CHARS_MIN + 1
    page = await reader.find_logs(replace(query, limit=min(args.limit, fitting)))
    if args.fields:
        rows = [_chosen(entry, args.fields) for entry in page.items]
        lines = [_chosen_line(row, args.fields) for row in rows]
    else:
        rows = [_row(entry) for entry in page.items]
        lines = [render.log_line(entry) for entry in page.items]
    kept = render.fit(lines, args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS)
    cut = len(kept) < len(lines)
    more = cut or page.next_cursor is not None
    last = page.items[len(kept) - 1] if more and kept else None
    place = cursors.encode([last.time_ns // 1000, last.id], query.canonical()) if last else None
    by = "max_tokens" if cut or len(lines) < args.limit else "limit"
    extra = _unknown_fields(page.items, args.fields)
    if page.stopped is not None and not cut:
        by, place = "scan_budget", page.next_cursor
        extra = [_stopped(page.stopped), *extra]
    return await _answer(
        reader, query, bounds, page, _Shown(kept, rows[: len(kept)], args.fields, len(kept), place, by, extra)
    )


async def _folded(reader: Reader, query: LogQuery, args: QueryArguments, bounds: Bounds) -> Answer:
    """Return a page of lines that stand for one or more records each."""
    page = await reader.find_messages(replace(query, limit=LIMIT_MAX))
    room = (args.max_tokens - _ENVELOPE_TOKENS) * render.CHARS_A_TOKEN

    def has_room(record: LogNode) -> bool:
        nonlocal room
        room -= max(len(render.message_line(record)), render.weight_of(message_row(record))) + _FOLD_CHARS
        return room >= 0

    folds, count = fold(page.items, args.collapse, args.limit, has_room)
    rows = [[*message_row(f.first), f.count, render.time_of(f.last.time_ns)] for f in folds]
    lines = [render.message_line(f.first) + _times(f) for f in folds]
    more = count < len(page.items) or len(page.items) == LIMIT_MAX
    place = place_of(page.items[count - 1], query) if more and count else None
    by = "limit" if len(folds) == args.limit or count == LIMIT_MAX else "max_tokens"
    extra = []
    if page.stopped is not None and not more:
        by, place, extra = "scan_budget", page.next_cursor, [_stopped(page.stopped)]
    columns = [*COLUMNS, "n", "last"]
    return await _answer(reader, query, bounds, page, _Shown(lines, rows, columns, count, place, by, extra))


def _stopped(stopped: Stopped) -> str:
    return f"stopped after {stopped.searched} of about {stopped.about} records; the cursor goes on"


class _Shown:
    """What a page shows: lines and rows, how many records they stand for, where the next page begins."""

    def __init__(
        self, lines: list[str], rows: list[list[Any]], columns: list[str], returned: int, place: str | None, by: str,
        hints: list[str],
    ) -> None:  # fmt: skip
        self.lines = lines
        self.rows = rows
        self.columns = columns or list(COLUMNS)
        self.returned = returned
        self.place = place
        self.by = by
        self.hints = hints


async def _answer(reader: Reader, query: LogQuery, bounds: Bounds, page: Page[Any], shown: _Shown) -> Answer:
    cursor = pack(shown.place, query) if shown.place else None
    matched: int | str = f"≥{page.matched}" if page.matched_is_lower_bound else page.matched
    hints = shown.hints if page.items or page.stopped else await hints_for_nothing(reader, query)
    if bounds.defaulted and query.since_ns is not None:
        hints = [*hints, "the default window of 1 hour was used; set since for more"]
    folded = f" in {len(shown.lines)} lines" if len(shown.lines) < shown.returned else ""
    left = f"; more: cursor={cursor}" if cursor else ""
    summary = f"{shown.returned} of {matched} log records{folded}, {query.order} first{left}"
    fenced = [render.FENCE, *shown.lines, render.FENCE_END] if shown.lines else []
    return Answer(
        "\n".join([summary, *hints, *fenced]),
        {
            "summary": summary,
            "columns": shown.columns,
            "rows": shown.rows,
            "returned": shown.returned,
            "matched": matched,
            "truncated": cursor is not None,
            "truncated_by": shown.by if cursor else None,
            "next_cursor": cursor,
            "window": bounds.data(),
            "hints": hints,
            "untrusted_data": True,
        },
        found=bool(shown.lines),
    )


def _times(folded: Fold) -> str:
    return f" ×{folded.count} to {render.time_of(folded.last.time_ns)}" if folded.count > 1 else ""


def _row(entry: LogEntry) -> list[Any]:
    body = entry.body if entry.body is not None else entry.event_name
    severity = entry.severity_text or severity_name(entry.severity_number)
    return [
        entry.id,
        render.time_of(entry.time_ns),
        render.clean(severity, 20),
        render.clean(entry.component, 120),
        render.clean(body) + render.exception_of(entry),
        entry.trace_id,
        entry.span_id,
    ]


def _chosen(entry: LogEntry, fields: list[str]) -> list[Any]:
    """Return the values of the fields; None where the record does not have it."""
    own = dict(zip(COLUMNS, _row(entry), strict=True)) | {n: getattr(entry, n) for n in _MORE_COLUMNS}
    own["body"] = entry.body
    values = [
        own[name] if name in own else entry.attributes[name] if name in entry.attributes else entry.resource.get(name)
        for name in fields
    ]
    return [v if v is None or isinstance(v, int) else render.clean(render.plain(v)) for v in values]


def _chosen_line(row: list[Any], fields: list[str]) -> str:
    own = {*COLUMNS, *_MORE_COLUMNS}
    return " ".join(
        str(value) if name in own else f"{render.clean(name, 120)}={value}"
        for name, value in zip(fields, row, strict=True)
        if value is not None
    )


def _unknown_fields(entries: list[LogEntry], fields: list[str]) -> list[str]:
    """Return a hint for each field that no record of the page has."""
    known = {*COLUMNS, *_MORE_COLUMNS}
    for entry in entries:
        known |= {*entry.attributes, *entry.resource}
    unknown = [name for name in fields if name not in known] if entries else []
    return [
        f'no record here has the field "{render.clean(name, 60)}".{did_you_mean(name, sorted(known))}'
        for name in unknown
    ]
