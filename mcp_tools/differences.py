"""PURE: two traces, or the values of two windows -> what differs, the largest difference first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mcp_tools.trace_shape import Shape
from storage.reading.fields import FieldValue

Change = Literal["added", "removed", "failing", "recovered", "slower", "faster", "more calls", "fewer calls"]
Path = tuple[tuple[str, str], ...]
"""(component, name) from the root down."""

# Less is the noise of one machine.
_SELF_NS_MIN = 1_000_000
_RATIO = 1.25
# A value that nearly every record has for itself (an id) tells nothing about a window.
_DISTINCT_SHARE_MAX = 0.5
_DISTINCT_MIN = 20


@dataclass(slots=True)
class Calls:
    """The calls of one path in one trace: how many, how long together (ns), how much of that not in calls below."""

    count: int = 0
    failed: int = 0
    total_ns: int = 0
    self_ns: int = 0
    example: str | None = None


@dataclass(frozen=True, slots=True)
class PathChange:
    """How the calls of a path differ. ``below``: spans of paths that begin with it and came or went with it."""

    change: Change
    path: Path
    a: Calls
    b: Calls
    below: int = 0


@dataclass(frozen=True, slots=True)
class ValueChange:
    """How many of the records of each window have a value: counts and shares of all that were read."""

    place: str
    key: str
    value: str
    a_count: int
    b_count: int
    a_share: float
    b_share: float

    @property
    def score(self) -> float:
        """Return how much the share changed."""
        return abs(self.b_share - self.a_share)


def calls_of(shape: Shape) -> dict[Path, Calls]:
    """Return the calls of each path of a trace."""
    paths: list[Path] = [()] * len(shape.spans)
    found: dict[Path, Calls] = {}
    for index in shape.order:
        span, above = shape.spans[index], shape.parent[index]
        path = paths[index] = (*(paths[above] if above >= 0 else ()), (span.component, span.name))
        calls = found.setdefault(path, Calls(example=span.span_id))
        calls.count += 1
        calls.failed += span.status == "error"
        calls.total_ns += shape.end[index] - shape.start[index]
        calls.self_ns += _self_ns(shape, index)
    return found


def _self_ns(shape: Shape, index: int) -> int:
    """Return how long a span ran while none of its children did."""
    low, high = shape.start[index], shape.end[index]
    covered, reached = 0, low
    for child in sorted(shape.children[index], key=lambda c: shape.start[c]):
        begin, end = max(shape.start[child], reached), min(shape.end[child], high)
        if end > begin:
            covered += end - begin
            reached = end
    return high - low - covered


def trace_changes(a: Shape, b: Shape) -> tuple[list[PathChange], int]:
    """Return what differs between two traces, and how many paths are the same.

    A path that came or went counts with all below it. Time is compared by what is spent in the calls themselves, so
    that a slow call does not make all above it differ.
    """
    ours, theirs = calls_of(a), calls_of(b)
    changes: list[PathChange] = []
    same = 0
    for path in dict.fromkeys([*ours, *theirs]):
        before, after = ours.get(path, Calls()), theirs.get(path, Calls())
        change = _change(before, after)
        if change is None:
            same += 1
        elif change not in {"added", "removed"}:
            changes.append(PathChange(change, path, before, after))
        elif len(path) == 1 or (path[:-1] in ours) is (path[:-1] in theirs):
            below = sum(c.count for p, c in (theirs if change == "added" else ours).items() if p[: len(path)] == path)
            changes.append(PathChange(change, path, before, after, below))
    return sorted(changes, key=_weight, reverse=True), same


def _change(a: Calls, b: Calls) -> Change | None:
    if not a.count:
        return "added"
    if not b.count:
        return "removed"
    if bool(a.failed) is not bool(b.failed):
        return "failing" if b.failed else "recovered"
    if abs(b.self_ns - a.self_ns) >= _SELF_NS_MIN and not a.self_ns / _RATIO <= b.self_ns <= a.self_ns * _RATIO:
        return "slower" if b.self_ns > a.self_ns else "faster"
    if a.count != b.count:
        return "more calls" if b.count > a.count else "fewer calls"
    return None


def _weight(change: PathChange) -> tuple[bool, int]:
    moved = change.b.self_ns - change.a.self_ns
    if change.change in {"added", "removed"}:
        moved = change.b.total_ns - change.a.total_ns
    return change.change == "failing", abs(moved)


@dataclass(slots=True)
class _Counts:
    a: int = 0
    b: int = 0
    distinct: int = field(default=0)


def value_changes(
    a: Sequence[FieldValue], b: Sequence[FieldValue], a_read: int, b_read: int, share_min: float = 0.02
) -> list[ValueChange]:
    """Return the values whose share of all records changed by at least ``share_min``, the most changed first."""
    counts: dict[tuple[str, str, str], _Counts] = {}
    distinct: dict[tuple[str, str], int] = {}
    for which, values in (("a", a), ("b", b)):
        for v in values:
            entry = counts.setdefault((v.place, v.key, v.value or ""), _Counts())
            setattr(entry, which, v.count)
            distinct[v.place, v.key] = max(distinct.get((v.place, v.key), 0), v.key_values)
    most = max(_DISTINCT_MIN, _DISTINCT_SHARE_MAX * max(a_read, b_read))
    changes = [
        ValueChange(place, key, value, c.a, c.b, c.a / max(a_read, 1), c.b / max(b_read, 1))
        for (place, key, value), c in counts.items()
        if distinct[place, key] <= most
    ]
    return sorted((c for c in changes if c.score >= share_min), key=lambda c: (-c.score, c.place, c.key, c.value))
