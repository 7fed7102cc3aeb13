"""logger_trace page by page: errors, logs, spans, full; the pages together are the whole, each record once."""

from dataclasses import dataclass, replace
from typing import Any

from mcp_tools import render
from mcp_tools.errors import UserInputError
from mcp_tools.trace_lines import ERROR_NUMBER, span_title
from mcp_tools.trace_shape import Shape, above
from storage import cursor as cursors
from storage.cursor import InvalidCursor
from storage.reader import Reader
from storage.reading.trace_parts import PartsQuery
from storage.views import LogEntry, SpanEntry, TraceOutline

_ENVELOPE_TOKENS = 220
_PARTS_MAX = 200
_PATH_SHOWN = 6
_EXCEPTION_CHARS = 300
# Shown elsewhere in its first line, or the same for the whole trace.
_SPAN_FIELDS = (
    "attributes",
    "events",
    "links",
    "status_message",
    "resource",
    "scope_name",
    "scope_version",
    "trace_state",
)
_LOG_FIELDS = ("body", "attributes", "resource", "event_name", "scope_name", "scope_version")
_FIELD_CHARS_MIN = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """One page that is asked for."""

    view: str
    span_ids: list[str]
    include_logs: bool
    cursor: str | None
    max_tokens: int


async def page_of(reader: Reader, outline: TraceOutline, shape: Shape, wanted: Wanted) -> dict[str, Any]:
    """Return one page as the envelope of logger_trace. Raises UserInputError for a cursor that is not its own."""
    query = PartsQuery(
        trace_id=outline.trace_id,
        spans=wanted.view != "logs",
        logs=wanted.view != "spans" and wanted.include_logs,
        failed=wanted.view == "errors",
        span_ids=wanted.span_ids,
        limit=_PARTS_MAX,
    )
    question = repr((query.trace_id, wanted.view, sorted(query.span_ids), query.logs))
    seen = 0
    if wanted.cursor:
        *place, seen = _decode(wanted.cursor, question)
        query = replace(query, after=(place[0], place[1], place[2]))
    parts = await reader.trace_parts(query)
    blocks = [_block(part, shape, wanted) for _, part in parts]
    lines, kept = _fit(blocks, wanted.max_tokens)
    more = kept < len(parts) or len(parts) == query.limit
    matched, exact = _matched(outline, query)
    cursor = cursors.encode([*parts[kept - 1][0], seen + kept], question) if more and kept else None
    left = max(matched - seen - kept, 0)
    shown = [part for _, part in parts[:kept]]
    count = f"{kept} of {'' if exact else '≥'}{matched} records, oldest first"
    return {
        "left_out": count + (f"; {left} left, go on with cursor={cursor}" if cursor else ""),
        "lines": lines,
        "returned": kept,
        "matched": matched if exact else f"≥{matched}",
        "returned_before": seen,
        "spans": len(outline.spans) + outline.spans_left_out,
        "logs": len(outline.logs) + outline.logs_left_out,
        "spans_shown": sum(isinstance(part, SpanEntry) for part in shown),
        "logs_shown": sum(isinstance(part, LogEntry) for part in shown),
        "truncated": cursor is not None,
        "truncated_by": None if cursor is None else "max_tokens" if kept < len(parts) else "limit",
        "next_cursor": cursor,
    }


def _decode(cursor: str, question: str) -> list[int]:
    try:
        return cursors.decode(cursor, question, (int, int, int, int))
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error


def _matched(outline: TraceOutline, query: PartsQuery) -> tuple[int, bool]:
    """Return how many records the pages hold together, and whether that is exact."""
    ids = set(query.span_ids)
    failed = query.failed
    spans = [s for s in outline.spans if (not ids or s.span_id in ids) and (not failed or s.status == "error")]
    logs = [
        e for e in outline.logs if (not ids or e.span_id in ids) and (not failed or e.severity_number >= ERROR_NUMBER)
    ]
    narrowed = failed or bool(ids)
    count, exact = 0, True
    if query.spans:
        count += len(spans) + (0 if narrowed else outline.spans_left_out)
        exact = exact and not (narrowed and outline.spans_left_out)
    if query.logs:
        count += len(logs) + (0 if narrowed else outline.logs_left_out)
        exact = exact and not (narrowed and outline.logs_left_out)
    return count, exact


def _fit(blocks: list[list[str]], max_tokens: int) -> tuple[list[str], int]:
    """Return the lines of the blocks that fit whole, at least one block, and how many blocks these are."""
    room = (max_tokens - _ENVELOPE_TOKENS) * render.CHARS_A_TOKEN
    lines: list[str] = []
    for count, block in enumerate(blocks):
        room -= sum(render.weight(line) + 2 for line in block)
        if room < 0 and count:
            return lines, count
        lines += block
    return lines, len(blocks)


def _block(part: SpanEntry | LogEntry, shape: Shape, wanted: Wanted) -> list[str]:
    """Return the lines of one record."""
    if isinstance(part, LogEntry):
        lines = [render.log_line(part)]
        fields: tuple[str, ...] = _LOG_FIELDS
        elsewhere = f"logger_query(id={part.id})"
    else:
        lines = [_span_line(part)]
        fields = _SPAN_FIELDS
        elsewhere = f'span_ids=["{part.span_id}"] with more max_tokens'
        if wanted.view == "errors":
            lines += _why(part, shape)
    if wanted.view == "full":
        room = (wanted.max_tokens - _ENVELOPE_TOKENS) * render.CHARS_A_TOKEN - 2 * len(lines[0])
        lines += _fields({name: getattr(part, name) for name in fields}, room, elsewhere)
    return lines


def _span_line(span: SpanEntry) -> str:
    parent = f" parent={span.parent_span_id}" if span.parent_span_id else ""
    message = f" {render.clean(span.status_message, 200)}" if span.status_message else ""
    return (
        f"{render.time_of(span.time_ns)} {span_title(span)} {span.kind} {render.duration(span.duration_ns)} "
        f"{span.status}{message} [{span.span_id}]{parent}"
    )


def _why(span: SpanEntry, shape: Shape) -> list[str]:
    """Return the way to a failed span from the root, and the exceptions it recorded."""
    index = next((i for i, s in enumerate(shape.spans) if s.id == span.id), None)
    way = [shape.spans[i] for i in reversed(above(shape, index))] if index is not None else []
    shown = [span_title(s) for s in way[-_PATH_SHOWN:]]
    lines = [f"  below {'… > ' if len(way) > len(shown) else ''}{' > '.join(shown)}"] if way else []
    for event in span.events:
        said = event.get("attributes") or {}
        if "exception.type" in said:
            what = f"{said['exception.type']}: {said.get('exception.message', '')}"
            lines.append(f"  {render.clean(what, _EXCEPTION_CHARS)}")
    return lines


def _fields(record: dict[str, Any], room: int, elsewhere: str) -> list[str]:
    """Return the fields that say something, each in one line; what is cut says where it is whole."""
    said = {name: value for name, value in record.items() if value}
    budget = max(room, _FIELD_CHARS_MIN * len(said)) // render.CHARS_A_TOKEN
    shown, cut = render.fit_fields(said, budget, reserve=len(elsewhere) // render.CHARS_A_TOKEN + 8)
    lines = [f"  {name}: {text}" for name, text in shown.items()]
    return lines + ([f"  (the ends of {', '.join(cut)} are cut: {elsewhere})"] if cut else [])
