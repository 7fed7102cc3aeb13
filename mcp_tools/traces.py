"""logger_trace: one trace, from the outline that names the cause to every field of every record."""

from typing import Any, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render, trace_pages
from mcp_tools.answers import Answer, Arguments, Asked
from mcp_tools.errors import UserInputError
from mcp_tools.not_stored import ARRIVING_NS, reason_for
from mcp_tools.trace_lines import Drawing, main_root, span_title
from mcp_tools.trace_shape import Shape, above, below, shape_of
from storage.reader import Reader
from storage.views import SpanNode, TraceOutline

View = Literal["summary", "tree", "critical_path", "errors", "logs", "spans", "full"]
# What stands around the lines: header, state, hints, twice.
_ENVELOPE_TOKENS = 200
_ERRORS_SHOWN = 5
_PATH_SHOWN = 8
_SPAN_IDS_MAX = 50


class TraceArguments(Arguments):
    """Arguments of logger_trace."""

    trace_id: str = Field(description="32 hex digits")
    view: View | None = Field(
        None,
        description="summary (default): tree with equal siblings folded; tree: each span with its logs; critical_path: "
        "what it waited for; errors; logs; spans: a line each; full: every field. The last four go on by cursor",
    )
    focus_span: str | None = Field(None, description="Only this span (16 hex digits) and below; summary and tree")
    span_ids: list[str] = Field(default=[], max_length=_SPAN_IDS_MAX, description="Only these spans, in full")
    include_logs: bool = True
    at: str | None = Field(None, description="About when it was; where a trace is not found it tells why")
    cursor: str | None = None


async def logger_trace(reader: Reader, args: TraceArguments, asked: Asked) -> Answer:
    """Return one trace."""
    trace_id = read.hex_id(args.trace_id, "trace_id", 32)
    outline = await reader.trace_outline(trace_id)
    if outline is None:
        raise await reason_for(reader, trace_id, args.at, asked.now_ns)
    view = args.view or ("full" if args.span_ids else "summary")
    shape = shape_of(outline.spans)
    header, state = _header(outline, shape), _state(outline, shape, asked.now_ns)
    if view in {"summary", "tree"}:
        answer = _drawn(outline, shape, args, view)
    elif view == "critical_path":
        answer = _critical(outline, shape, args.max_tokens)
    else:
        wanted = trace_pages.Wanted(
            view, [_span_id(s, shape) for s in args.span_ids], args.include_logs, args.cursor, args.max_tokens
        )
        answer = await trace_pages.page_of(reader, outline, shape, wanted)
    data: dict[str, Any] = {"summary": header, "trace_id": trace_id, "view": view, "state": state}
    data |= answer | {"untrusted_data": True}
    text = "\n".join([header, state, answer["left_out"], render.FENCE, *answer["lines"], render.FENCE_END])
    return Answer(text, data)


def _drawn(outline: TraceOutline, shape: Shape, args: TraceArguments, view: str) -> dict[str, Any]:
    """Return the tree within the budget."""
    logs = outline.logs if args.include_logs else []
    drawing = Drawing(shape, logs, fold=view == "summary", partial=outline.spans_left_out > 0)
    focus = shape_index(shape, args.focus_span) if args.focus_span else None
    above_lines = [*_errors(outline, shape, drawing), *_path_line(shape, drawing)] if focus is None else []
    if focus is not None:
        above_lines = [f"below {' > '.join(span_title(shape.spans[i]) for i in reversed(above(shape, focus)))}"]
    room = (args.max_tokens - _ENVELOPE_TOKENS) * render.CHARS_A_TOKEN
    while above_lines and sum(render.weight(line) + 2 for line in above_lines) > room // 2:
        above_lines.pop()  # the tree has them as well
    room -= sum(render.weight(line) + 2 for line in above_lines)
    drawn = drawing.draw(room, focus)
    outside = len(shape.spans) - len(below(shape, focus)) if focus is not None else 0
    spans_out = drawn.spans_left_out + outline.spans_left_out
    shown_logs = drawn.logs_shown
    logs_out = len(outline.logs) + outline.logs_left_out - shown_logs
    out = _left_out(spans_out, logs_out, outside, args.max_tokens)
    return {
        "left_out": out,
        "lines": [*above_lines, *drawn.lines],
        "spans": len(outline.spans) + outline.spans_left_out,
        "logs": len(outline.logs) + outline.logs_left_out,
        "spans_left_out": spans_out + outside,
        "logs_left_out": logs_out,
        "truncated": bool(spans_out or outside or logs_out),
        "truncated_by": "max_tokens" if drawn.spans_left_out else "view" if outside or logs_out else None,
        "next_cursor": None,
    }


def _left_out(spans: int, logs: int, outside: int, max_tokens: int) -> str:
    """Return what the tree does not show, and how to see it."""
    if not spans and not logs and not outside:
        return "all shown"
    parts = [f"{spans} spans"] if spans else []
    parts += [f"{outside} spans outside of focus_span"] if outside else []
    parts += [f"{logs} logs"] if logs else []
    more = "raise max_tokens, focus_span=, " if max_tokens < 20_000 else "focus_span=, "  # noqa: PLR2004
    return f"left out: {', '.join(parts)} ({more}view=logs, or view=full page by page)"


def _critical(outline: TraceOutline, shape: Shape, max_tokens: int) -> dict[str, Any]:
    """Return the spans that the trace waited for, in order, each with its own time."""
    drawing = Drawing(shape, outline.logs, fold=True)
    total = sum(drawing.critical.values()) or 1
    lines = {index: _waited(shape.spans[index], own, total) for index, own in drawing.critical.items()}
    by_time = sorted(lines, key=lambda i: -drawing.critical[i])
    kept = set(by_time[: len(render.fit([lines[i] for i in by_time], max_tokens, reserve=_ENVELOPE_TOKENS))])
    missing = [i for i in lines if i not in kept]
    rest = sum(drawing.critical[i] for i in missing)
    path = f"{len(lines)} spans on the critical path, {render.duration(total)} in all"
    more = f"; left out: {len(missing)} of them with {render.duration(rest)} self (raise max_tokens)" if missing else ""
    return {
        "left_out": path + more,
        "lines": [line for index, line in lines.items() if index in kept],
        "spans": len(outline.spans) + outline.spans_left_out,
        "logs": len(outline.logs) + outline.logs_left_out,
        "spans_left_out": len(outline.spans) + outline.spans_left_out - len(kept),
        "logs_left_out": len(outline.logs) + outline.logs_left_out,
        "truncated": bool(missing),
        "truncated_by": "max_tokens" if missing else None,
        "next_cursor": None,
    }


def _waited(span: SpanNode, own_ns: int, total_ns: int) -> str:
    share = f"{render.duration(own_ns)} self ({100 * own_ns / total_ns:.0f} %) of {render.duration(span.duration_ns)}"
    return f"{share}  {span_title(span)} [{span.span_id}]{' ERROR' if span.status == 'error' else ''}"


def _errors(outline: TraceOutline, shape: Shape, drawing: Drawing) -> list[str]:
    """Return where it failed first of all: spans that failed with none below them that did, and what was logged."""
    ends = [i for i in shape.order if i in drawing.failing and not any(c in drawing.failing for c in shape.children[i])]
    found: dict[str, int] = {}
    for i in ends:
        span = shape.spans[i]
        key = f"{span_title(span)}: {render.clean(span.status_message, 160) or _logged(outline, span.span_id)}"
        found[key] = found.get(key, 0) + 1
    lines = [f"failed: {what}{f' ×{n}' if n > 1 else ''}" for what, n in found.items()]
    if not outline.spans:
        lines = [
            f"{render.severity_of(e)}: {render.said(e, 160)}"
            for e in outline.logs
            if e.severity_number >= read.SEVERITIES["error"]
        ]
    more = [f"failed: {len(lines) - _ERRORS_SHOWN} other kinds (view=errors)"] if len(lines) > _ERRORS_SHOWN else []
    return lines[:_ERRORS_SHOWN] + more


def _logged(outline: TraceOutline, span_id: str | None) -> str:
    """Return the first error that a span logged; a span may fail without a word."""
    said = (e for e in outline.logs if e.span_id == span_id and e.severity_number >= read.SEVERITIES["error"])
    first = next(said, None)
    return "no message" if first is None else render.said(first, 160)


def _path_line(shape: Shape, drawing: Drawing) -> list[str]:
    """Return the spans that took most of the critical path, in order."""
    if len(drawing.critical) < 2:  # noqa: PLR2004 - it is the root alone
        return []
    most = sorted(drawing.critical, key=lambda i: -drawing.critical[i])[:_PATH_SHOWN]
    shown = [i for i in drawing.critical if i in most]
    steps = [
        f"{render.clean(shape.spans[i].component, 60)} {render.clean(shape.spans[i].name, 80)} "
        f"[self {render.duration(drawing.critical[i])}]"
        for i in sorted(shown, key=lambda i: shape.start[i])
    ]
    rest = f" (+{len(drawing.critical) - len(shown)}: view=critical_path)" if len(drawing.critical) > len(shown) else ""
    return [f"critical path (*): {' > '.join(steps)}{rest}"]


def shape_index(shape: Shape, span_id: str) -> int:
    """Return the index of a span. Raises UserInputError."""
    wanted = _span_id(span_id, shape)
    return next(i for i, s in enumerate(shape.spans) if s.span_id == wanted)


def _span_id(span_id: str, shape: Shape) -> str:
    wanted = read.hex_id(span_id, "span_id", 16)
    if not any(s.span_id == wanted for s in shape.spans):
        raise UserInputError(
            "UNKNOWN_SPAN", f"the trace has no span {wanted}; ids stand in brackets in view=summary and view=spans"
        )
    return wanted


def _header(outline: TraceOutline, shape: Shape) -> str:
    """Return what a trace is in one line."""
    times = [s.time_ns for s in outline.spans] + [entry.time_ns for entry in outline.logs]
    components = {s.component for s in outline.spans} | {entry.component for entry in outline.logs}
    errors = sum(s.status == "error" for s in outline.spans)
    took = render.duration(shape.spans[main_root(shape)].duration_ns) if shape.roots else "no spans"
    least = "≥" if outline.spans_left_out or outline.logs_left_out else ""
    return (
        f"trace {outline.trace_id}  {took}  {len(outline.spans) + outline.spans_left_out} spans  {least}"
        f"{len(components)} components  {least}{errors} errors  {len(outline.logs) + outline.logs_left_out} logs  "
        f"{render.time_of(min(times))}"
    )


def _state(outline: TraceOutline, shape: Shape, now_ns: int) -> str:
    """Return whether more is to be expected, and what does not fit together."""
    last = max([s.time_ns + s.duration_ns for s in outline.spans] + [entry.time_ns for entry in outline.logs])
    ago = max(now_ns - last, 0)
    orphans = sum(shape.orphan) if not outline.spans_left_out else 0
    skewed = sorted({render.clean(shape.spans[i].component, 60) for i, by in enumerate(shape.skew) if by})
    arriving = ago < ARRIVING_NS
    parts = [f"still arriving: last record {render.duration(ago)} ago" if arriving else "settled"]
    if orphans:
        parts.append(f"{orphans} spans have a parent that is not stored{' yet' if arriving else ''}")
    if skewed:
        parts.append(f"clock skew: {', '.join(skewed[:5])} (moved to fit below their parents)")
    return "; ".join(parts)
