"""logger_diff: what is different between two traces, or between two windows of time."""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked, Bounds, bounds_of, check_component
from mcp_tools.differences import Calls, PathChange, ValueChange, trace_changes, value_changes
from mcp_tools.errors import UserInputError
from mcp_tools.language import read_query
from mcp_tools.pattern_table import Pattern, mark_changes, patterns_of
from mcp_tools.patterns import Span, read_window
from mcp_tools.trace_shape import Shape, shape_of
from storage.filters import LogQuery, TraceQuery
from storage.reader import Reader
from storage.reading.signals import Selection

_ENVELOPE_TOKENS = 220
_ROWS_MAX = 5_000
_VALUES_MAX = 50
_PATH_SHOWN = 4


class DiffArguments(Arguments):
    """Arguments of logger_diff."""

    kind: Literal["traces", "windows"]
    a: str | Span = Field(description="What was well: a trace id, or {since, until}")
    b: str | Span | None = Field(None, description="What is in question. Windows: default from the end of a until now")
    signal: Literal["logs", "spans"] = Field("logs", description="Of windows")
    component: str | None = Field(None, description="Of windows")
    query: str | None = Field(None, description="Of windows; as in logger_query")


async def logger_diff(reader: Reader, args: DiffArguments, asked: Asked) -> Answer:
    """Return what differs, the largest difference first."""
    if args.kind == "traces":
        return await _traces(reader, args)
    return await _windows(reader, args, asked)


async def _traces(reader: Reader, args: DiffArguments) -> Answer:
    shapes: list[Shape] = []
    titles: list[str] = []
    for name, given in (("a", args.a), ("b", args.b)):
        if not isinstance(given, str):
            raise UserInputError("INVALID_ARGUMENT", f'{name} must be a trace id with kind="traces"')
        trace_id = read.hex_id(given, name, 32)
        outline = await reader.trace_outline(trace_id)
        if outline is None or not outline.spans:
            raise UserInputError(
                "UNKNOWN_TRACE", f"no span of trace {trace_id} ({name}) is stored; logger_search_traces finds others"
            )
        shapes.append(shape_of(outline.spans))
        took = max(shapes[-1].end) - min(shapes[-1].start)
        titles.append(f"{name} {trace_id} {len(outline.spans)} spans {render.duration(took)}")
    changes, same = trace_changes(shapes[0], shapes[1])
    rows = [_path_row(c) for c in changes]
    lines = [_path_line(c) for c in changes]
    kept = render.fit(lines, args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS)
    out = len(lines) - len(kept)
    summary = f"{len(lines)} differences, {same} paths the same; {'; '.join(titles)}"
    more = [f"{out} smaller differences are left out: raise max_tokens"] if out else []
    data = {
        "summary": summary, "kind": "traces", "differences": rows[: len(kept)], "same": same, "returned": len(kept),
        "left_out": out, "matched": len(lines), "truncated": out > 0, "truncated_by": "max_tokens" if out else None,
        "hints": more, "untrusted_data": True,
    }  # fmt: skip
    fenced = [render.FENCE, *kept, render.FENCE_END] if kept else []
    return Answer("\n".join([summary, *more, *fenced]), data)


def _path_row(c: PathChange) -> dict[str, Any]:
    return {
        "change": c.change,
        "path": _path(c),
        "spans_with_it": c.below,
        "a": _calls(c.a),
        "b": _calls(c.b),
    }


def _calls(calls: Calls) -> dict[str, Any] | None:
    if not calls.count:
        return None
    return {
        "count": calls.count,
        "failed": calls.failed,
        "total_ms": round(calls.total_ns / 1e6, 3),
        "self_ms": round(calls.self_ns / 1e6, 3),
        "span_id": calls.example,
    }


def _path(c: PathChange) -> str:
    steps = [f"{render.clean(component, 60)} {render.clean(name, 120)}" for component, name in c.path]
    return f"{'… > ' if len(steps) > _PATH_SHOWN else ''}{' > '.join(steps[-_PATH_SHOWN:])}"


def _path_line(c: PathChange) -> str:
    with_it = (
        f" with {c.below - max(c.a.count, c.b.count)} spans below it" if c.below > max(c.a.count, c.b.count) else ""
    )
    return f"{c.change}: {_path(c)}{with_it}: {_said(c.a)} -> {_said(c.b)}"


def _said(calls: Calls) -> str:
    if not calls.count:
        return "none"
    failed = f", {calls.failed} failed" if calls.failed else ""
    times = f"×{calls.count} " if calls.count > 1 else ""
    return f"{times}{render.duration(calls.total_ns)} (self {render.duration(calls.self_ns)}{failed}) [{calls.example}]"


@dataclass(frozen=True, slots=True)
class _Compared:
    """One difference of windows as a line and as a row; fields and patterns stand beside each other."""

    line: str
    row: dict[str, Any]
    score: float


async def _windows(reader: Reader, args: DiffArguments, asked: Asked) -> Answer:
    await check_component(reader, args.component)
    a, b = _bounds(args, asked.now_ns)
    node = await read_query(reader, args.query, args.signal)
    selections = [_selection(args, node, bounds) for bounds in (a, b)]
    # All at the same time: fields are PostgreSQL's work, templates ours.
    ((a_read, ours), (b_read, theirs)), (patterns, mined) = await asyncio.gather(
        asyncio.gather(*(reader.field_values(s, rows_max=_ROWS_MAX, values_max=_VALUES_MAX) for s in selections)),
        _patterns(reader, selections[0].query, selections[1].query),
    )
    found = [_value_compared(c) for c in value_changes(ours, theirs, a_read, b_read)] + patterns
    read_hint = [
        f"of window {name} the newest {_ROWS_MAX} {args.signal} were compared by their fields"
        for name, count in (("a", a_read), ("b", b_read))
        if count == _ROWS_MAX
    ] + mined
    found.sort(key=lambda d: -d.score)
    rows = [d.row for d in found]
    kept = render.fit([d.line for d in found], args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS)
    out = len(found) - len(kept)
    summary = f"{len(found)} differences between {a_read} {args.signal} of a and {b_read} of b"
    hints = [*([f"{out} smaller differences are left out: raise max_tokens"] if out else []), *read_hint]
    data = {
        "summary": summary, "kind": "windows", "differences": rows[: len(kept)], "a": a.data(), "b": b.data(),
        "a_read": a_read, "b_read": b_read, "returned": len(kept), "left_out": out, "matched": len(found),
        "truncated": out > 0, "truncated_by": "max_tokens" if out else None, "hints": hints, "untrusted_data": True,
    }  # fmt: skip
    fenced = [render.FENCE, *kept, render.FENCE_END] if kept else []
    return Answer("\n".join([summary, *hints, *fenced]), data)


def _bounds(args: DiffArguments, now_ns: int) -> tuple[Bounds, Bounds]:
    if not isinstance(args.a, Span) or isinstance(args.b, str):
        raise UserInputError(
            "INVALID_ARGUMENT", 'windows are objects, for example a={"since": "2h", "until": "1h"}, b={"since": "1h"}'
        )
    if args.b is None and args.a.until is None:
        raise UserInputError("INVALID_ARGUMENT", "a needs until=, where b then begins; or give b")
    a = bounds_of(args.a.since, args.a.until, now_ns)
    other = args.b or Span(since=str(args.a.until))
    return a, bounds_of(other.since, other.until, now_ns)


def _selection(args: DiffArguments, node: Any, bounds: Bounds) -> Selection:
    given = {"component": args.component, "query": node, "since_ns": bounds.since_ns, "until_ns": bounds.until_ns}
    return Selection(signal=args.signal, query=LogQuery(**given) if args.signal == "logs" else TraceQuery(**given))


def _value_compared(c: ValueChange) -> _Compared:
    row = {
        "what": "field" if c.place == "field" else f"{c.place} attribute" if c.place == "resource" else "attribute",
        "key": render.clean(c.key, 120), "value": render.clean(c.value, 120), "a": c.a_count, "b": c.b_count,
        "a_share": round(c.a_share, 4), "b_share": round(c.b_share, 4),
    }  # fmt: skip
    line = (
        f"{row['key']}={row['value'] or '(empty)'}: {c.a_share * 100:.3g} % -> {c.b_share * 100:.3g} % "
        f"({c.a_count} -> {c.b_count})"
    )
    return _Compared(line, row, c.score)


async def _patterns(
    reader: Reader, a: LogQuery | TraceQuery, b: LogQuery | TraceQuery
) -> tuple[list[_Compared], list[str]]:
    """Return what differs in what log records say, and what of it was not looked at; of spans nothing."""
    if not isinstance(a, LogQuery) or not isinstance(b, LogQuery):
        return [], []
    hints = []
    before, after = await asyncio.gather(*(read_window(reader, window, _ROWS_MAX) for window in (a, b)))
    for name, page in (("a", before), ("b", after)):
        if page.stopped is not None:
            searched = f"{page.stopped.searched} of about {page.stopped.about} records"
            hints.append(f"of window {name} the search for messages stopped after {searched}")
        elif page.matched_is_lower_bound or page.matched > len(page.items):
            hints.append(f"of window {name} the newest {len(page.items)} messages were mined for patterns")
    since_ns, until_ns = b.since_ns or 0, b.until_ns or 0
    found, total, base = patterns_of(after.items, before.items, since_ns, until_ns)
    changed = [p for p in mark_changes(found, total, base) if p.change != "same"]
    return [_pattern_compared(p, total, base) for p in changed], hints


def _pattern_compared(p: Pattern, total: int, base: int) -> _Compared:
    a_share, b_share = p.base_count / max(base, 1), p.count / max(total, 1)
    row = {
        "what": "pattern", "change": p.change, "severity": p.severity, "component": render.clean(p.component, 120),
        "pattern": render.clean(p.template, 300), "a": p.base_count, "b": p.count, "a_share": round(a_share, 4),
        "b_share": round(b_share, 4), "sample_id": p.sample.id,
    }  # fmt: skip
    line = (
        f"{p.change} pattern: {p.severity} {row['component']} {row['pattern']}: {p.base_count} -> {p.count} "
        f"(#{p.sample.id})"
    )
    # What was not there at all is what one looks for: it stands above shares that moved a little.
    return _Compared(
        line, row, abs(b_share - a_share) + (1 if p.change == "new" and p.severity in {"ERROR", "FATAL"} else 0)
    )
