"""PURE: spans in any order -> who is below whom, whose clock is off, and what the request waited for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from storage.views import SpanNode

# Clocks of one machine differ by less; a child that begins earlier than this before its parent has another clock.
SKEW_NS_MIN = 1_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """The spans of a trace as a forest; spans are named by their index in ``spans``.

    ``parent``: -1 at the top. ``order``: every index once, parents before children, siblings by start.
    ``start`` and ``end``: ns since 1970, moved by ``skew`` where a span's clock cannot be right beside its parent's.
    ``orphan``: its parent is not among the spans. ``looped``: its parents lead back to itself; it stands at the top.
    """

    spans: Sequence[SpanNode]
    parent: list[int]
    children: list[list[int]]
    roots: list[int]
    order: list[int]
    start: list[int]
    end: list[int]
    skew: list[int]
    orphan: list[bool]
    looped: list[bool]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time (ns since 1970) in which the whole trace waited for span ``index`` itself."""

    index: int
    start: int
    end: int


def shape_of(spans: Sequence[SpanNode]) -> Shape:
    """Return the forest of ``spans``: any order, parents missing, in circles or twice the same id."""
    first: dict[str, int] = {}
    for index, span in enumerate(spans):
        if span.span_id:
            first.setdefault(span.span_id, index)
    parent = [first.get(s.parent_span_id, -1) if s.parent_span_id else -1 for s in spans]
    orphan = [bool(s.parent_span_id) and p < 0 for s, p in zip(spans, parent, strict=True)]
    looped = _break_loops(parent)
    by_time = sorted(range(len(spans)), key=lambda i: (spans[i].time_ns, spans[i].id))
    children: list[list[int]] = [[] for _ in spans]
    for index in by_time:
        if parent[index] >= 0:
            children[parent[index]].append(index)
    tops = [i for i in by_time if parent[i] < 0]
    roots = sorted(tops, key=lambda i: orphan[i] or looped[i])
    order = list(_downwards(roots, children))
    start = [s.time_ns for s in spans]
    end = [s.time_ns + s.duration_ns for s in spans]
    skew = _skews(spans, parent, order, start, end)
    return Shape(spans, parent, children, roots, order, start, end, skew, orphan, looped)


def _break_loops(parent: list[int]) -> list[bool]:
    """Cut each circle of parents at one place, in ``parent``; return where."""
    looped = [False] * len(parent)
    state = [0] * len(parent)  # 0: not seen, else the number of the walk that came by
    for begin in range(len(parent)):
        step, walk = begin, begin + 1
        while step >= 0 and state[step] == 0:
            state[step] = walk
            step = parent[step]
        if step >= 0 and state[step] == walk:
            parent[step] = -1
            looped[step] = True
    return looped


def _downwards(tops: Iterable[int], children: list[list[int]]) -> Iterator[int]:
    """Yield what is at and below ``tops``, depth first. No recursion: traces may be deep."""
    stack = list(reversed(list(tops)))
    while stack:
        index = stack.pop()
        yield index
        stack += reversed(children[index])


def below(shape: Shape, index: int) -> list[int]:
    """Return the span and all below it, depth first."""
    return list(_downwards([index], shape.children))


def above(shape: Shape, index: int) -> list[int]:
    """Return the spans above a span, the nearest first."""
    path = []
    while (index := shape.parent[index]) >= 0:
        path.append(index)
    return path


def _skews(
    spans: Sequence[SpanNode], parent: list[int], order: list[int], start: list[int], end: list[int]
) -> list[int]:
    """Move ``start`` and ``end`` of spans whose clock is off; return by how much (ns; 0 where it is not)."""
    moved = [0] * len(spans)
    skew = [0] * len(spans)
    for index in order:
        above_it = parent[index]
        if above_it < 0:
            continue
        if spans[index].component == spans[above_it].component:
            moved[index] = moved[above_it]
        else:
            moved[index] = skew[index] = _offset(spans, index, above_it, start, end)
        start[index] += moved[index]
        end[index] += moved[index]
    return skew


def _offset(spans: Sequence[SpanNode], index: int, above_it: int, start: list[int], end: list[int]) -> int:
    """Return how far a span must move to be possible below its parent.

    No child begins before its parent. What a client waited for also ends before it, unless the client gave up.
    """
    slack = (end[above_it] - start[above_it]) - (end[index] - start[index])
    early = start[index] < start[above_it] - SKEW_NS_MIN
    waited = spans[above_it].kind == "client" and spans[index].kind == "server" and spans[above_it].status != "error"
    late = waited and slack >= 0 and end[index] > end[above_it] + SKEW_NS_MIN
    if early or late:
        return start[above_it] - start[index] + (slack // 2 if waited and slack > 0 else 0)
    return 0


def critical_path(shape: Shape, root: int) -> list[Segment]:
    """Return what the trace waited for, oldest first; the segments fill the root's time without gap or overlap.

    Walked backwards from the end: the time belongs to the child that ended last, and to the span itself where none ran
    (Uber's CRISP and Jaeger do the same).
    """
    segments: list[Segment] = []
    # (span, where its part begins, how far back its time is told, its children by end, the last first)
    stack = [_frame(shape, root, shape.start[root], shape.end[root])]
    while stack:
        frame = stack[-1]
        child = next((c for c in frame.rest if _overlaps(shape, c, frame.low, frame.cursor)), None)
        if child is None:
            if frame.cursor > frame.low:
                segments.append(Segment(frame.index, frame.low, frame.cursor))
            stack.pop()
            continue
        ends = min(shape.end[child], frame.cursor)
        begins = max(shape.start[child], frame.low)
        if ends < frame.cursor:
            segments.append(Segment(frame.index, ends, frame.cursor))
        frame.cursor = begins
        stack.append(_frame(shape, child, begins, ends))
    return segments[::-1]


@dataclass(slots=True)
class _Frame:
    index: int
    low: int
    cursor: int
    rest: Iterator[int]


def _frame(shape: Shape, index: int, low: int, high: int) -> _Frame:
    by_end = sorted(shape.children[index], key=lambda c: (-shape.end[c], shape.start[c]))
    return _Frame(index, low, high, iter(by_end))


def _overlaps(shape: Shape, child: int, low: int, high: int) -> bool:
    return max(shape.start[child], low) < min(shape.end[child], high)


def self_times(segments: Sequence[Segment]) -> dict[int, int]:
    """Return how long (ns) the trace waited for each span itself, in the order in which they first come."""
    times: dict[int, int] = {}
    for segment in segments:
        times[segment.index] = times.get(segment.index, 0) + segment.end - segment.start
    return times
