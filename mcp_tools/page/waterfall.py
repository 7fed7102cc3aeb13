"""PURE: the shape of a trace -> rows of a waterfall, and the compact columns that a browser draws the rest from."""

from dataclasses import dataclass
from typing import Any

from mcp_tools.trace_lines import ERROR_NUMBER, main_root
from mcp_tools.trace_shape import Segment, Shape, critical_path
from storage.mapping import severity_name
from storage.views import LogNode, TraceOutline

COLOURS = 10
"""Colours of components in the stylesheet; the eleventh component has the first one's again."""
ERROR, ORPHAN, LOOPED, CRITICAL, SKEWED = 1, 2, 4, 8, 16
_US = 1_000


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A trace as it is drawn: ``order`` names spans by their index in the shape, ``row_of`` is its inverse."""

    outline: TraceOutline
    shape: Shape
    order: list[int]
    row_of: dict[int, int]
    depth: list[int]
    flags: list[int]
    segments: list[Segment]
    logs: dict[int, list[LogNode]]
    components: list[str]
    start_ns: int
    end_ns: int

    @property
    def span_ns(self) -> int:
        """Its length in ns, 1 at least."""
        return max(self.end_ns - self.start_ns, 1)


def waterfall(outline: TraceOutline, shape: Shape) -> Waterfall:
    """Return what is drawn of a trace; ``shape`` is that of its spans."""
    segments = critical_path(shape, main_root(shape)) if shape.roots else []
    critical = {segment.index for segment in segments}
    depth = [0] * len(shape.spans)
    for index in shape.order:
        above = shape.parent[index]
        depth[index] = depth[above] + 1 if above >= 0 else 0
    flags = [
        (ERROR if span.status == "error" else 0)
        | (ORPHAN if shape.orphan[i] and not outline.spans_left_out else 0)
        | (LOOPED if shape.looped[i] else 0)
        | (CRITICAL if i in critical else 0)
        | (SKEWED if shape.skew[i] else 0)
        for i, span in enumerate(shape.spans)
    ]
    index_of = {s.span_id: i for i, s in reversed(list(enumerate(shape.spans))) if s.span_id}
    logs: dict[int, list[LogNode]] = {}
    for entry in outline.logs:
        logs.setdefault(index_of.get(entry.span_id, -1) if entry.span_id else -1, []).append(entry)
    times = [*shape.start, *(entry.time_ns for entry in outline.logs)]
    ends = [*shape.end, *(entry.time_ns for entry in outline.logs)]
    names = dict.fromkeys([shape.spans[i].component for i in shape.order] + [e.component for e in outline.logs])
    row_of = {index: row for row, index in enumerate(shape.order)}
    return Waterfall(
        outline, shape, shape.order, row_of, depth, flags, segments, logs, list(names), min(times), max(ends)
    )


def rows(drawn: Waterfall, first: int, limit: int) -> list[dict[str, Any]]:
    """Return rows of spans from ``first`` on, each with its log records; places are in percent of the whole."""
    colour = {name: n % COLOURS for n, name in enumerate(drawn.components)}
    parts: dict[int, list[tuple[float, float]]] = {}
    for segment in drawn.segments:
        parts.setdefault(segment.index, []).append(_place(drawn, segment.start, segment.end))
    found = []
    for index in drawn.order[first : first + limit]:
        span = drawn.shape.spans[index]
        x, width = _place(drawn, drawn.shape.start[index], drawn.shape.end[index])
        found.append(
            {
                "span_id": span.span_id,
                "component": span.component,
                "name": span.name,
                "kind": span.kind,
                "status": span.status,
                "status_message": span.status_message,
                "depth": drawn.depth[index],
                "colour": colour[span.component],
                "start_ns": drawn.shape.start[index],
                "offset_ns": drawn.shape.start[index] - drawn.start_ns,
                "duration_ns": span.duration_ns,
                "children": len(drawn.shape.children[index]),
                "x": x,
                "width": width,
                "flags": drawn.flags[index],
                "critical": parts.get(index, []),
                "logs": [_log(drawn, entry) for entry in drawn.logs.get(index, ())],
            }
        )
    return found


def loose_logs(drawn: Waterfall) -> list[dict[str, Any]]:
    """Return the log records that belong to no span that is stored."""
    return [_log(drawn, entry) for entry in drawn.logs.get(-1, ())]


def _log(drawn: Waterfall, entry: LogNode) -> dict[str, Any]:
    severity = severity_name(entry.severity_number)
    return {
        "id": entry.id,
        "time_ns": entry.time_ns,
        "severity": severity,
        "level": severity.lower(),
        "component": entry.component,
        "body": entry.body,
        "x": _place(drawn, entry.time_ns, entry.time_ns)[0],
    }


def _place(drawn: Waterfall, start: int, end: int) -> tuple[float, float]:
    whole = drawn.span_ns
    return round(100 * (start - drawn.start_ns) / whole, 3), round(100 * max(end - start, 0) / whole, 3)


def failures(drawn: Waterfall, limit: int) -> list[dict[str, Any]]:
    """Return what failed, causes first: where a failure began says more than where it ended."""
    failed = [i for i in drawn.order if drawn.flags[i] & ERROR]
    above = {drawn.shape.parent[i] for i in failed}
    causes = [i for i in failed if i not in above] + [i for i in failed if i in above]
    found = []
    for index in causes[:limit]:
        span = drawn.shape.spans[index]
        said = [e.body for e in drawn.logs.get(index, ()) if e.severity_number >= ERROR_NUMBER]
        what = span.status_message or (said[0] if said else "")
        found.append({"span_id": span.span_id, "component": span.component, "name": span.name, "message": what})
    return found


def columns(drawn: Waterfall) -> dict[str, Any]:
    """Return the whole waterfall column by column, in the order of its rows: what static/waterfall.js draws.

    Times are µs since the start; ``ids`` is one text of 16 hex digits a row, ``messages`` is by row.
    """
    shape, order = drawn.shape, drawn.order
    names = {name: n for n, name in enumerate(dict.fromkeys(shape.spans[i].name for i in order))}
    who = {name: n for n, name in enumerate(drawn.components)}
    start = drawn.start_ns
    return {
        "trace_id": drawn.outline.trace_id,
        "duration_us": drawn.span_ns / _US,
        "components": drawn.components,
        "names": list(names),
        "ids": "".join(shape.spans[i].span_id or "0" * 16 for i in order),
        "component": [who[shape.spans[i].component] for i in order],
        "name": [names[shape.spans[i].name] for i in order],
        "depth": [drawn.depth[i] for i in order],
        "start": [round((shape.start[i] - start) / _US) for i in order],
        "took": [round(shape.spans[i].duration_ns / _US) for i in order],
        "flags": [drawn.flags[i] for i in order],
        "messages": {
            row: shape.spans[i].status_message[:200] for row, i in enumerate(order) if shape.spans[i].status_message
        },
        "critical": [
            [drawn.row_of[s.index], round((s.start - start) / _US), round((s.end - start) / _US)]
            for s in drawn.segments
        ],
        "logs": [
            [drawn.row_of.get(index, -1), round((e.time_ns - start) / _US), severity_name(e.severity_number).lower(),
             who[e.component], e.body[:300], str(e.id)]
            for index, entries in drawn.logs.items() for e in entries
        ],
        "spans_left_out": drawn.outline.spans_left_out,
        "logs_left_out": drawn.outline.logs_left_out,
    }  # fmt: skip
