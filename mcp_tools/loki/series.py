"""PURE: counts of lines in bins of time -> series at the points of a query; no point where nothing was counted."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd

from mcp_tools.loki.labels import level_of, stream_of
from mcp_tools.loki.tree import Aggregated, Constant, Counted, Metric
from storage.views import LineCount

# Loki's own limit and words.
POINTS_MAX = 11_000
# Of all series together: what a page can draw, and some ten MB of JSON.
SAMPLES_MAX = 200_000
_MS = 1_000_000

Labels = tuple[tuple[str, str], ...]
Series = dict[Labels, dict[int, float]]
"""By labels, sorted: the values at the points, by their number."""


class SeriesError(ValueError):
    """A query that asks for too much; the text is the whole sentence."""


@dataclass(frozen=True, slots=True)
class Points:
    """The points of time from ``start_ns`` to ``end_ns``, both included, every ``step_ns``."""

    start_ns: int
    end_ns: int
    step_ns: int

    def __len__(self) -> int:
        """Return how many there are."""
        return (self.end_ns - self.start_ns) // self.step_ns + 1

    def time_ns(self, index: int) -> int:
        """Return the time of one."""
        return self.start_ns + index * self.step_ns


def points(start_ns: int, end_ns: int, step_ns: int) -> Points:
    """Return the points of a query. Raises SeriesError."""
    step_ns = max(step_ns // _MS, 1) * _MS
    if (end_ns - start_ns) // step_ns > POINTS_MAX:
        raise SeriesError(
            "exceeded maximum resolution of 11,000 points per time series. "
            "Try increasing the value of the step parameter"
        )
    return Points(start_ns, end_ns, step_ns)


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of ``width_ns`` from ``origin_ns`` to ``end_ns``; each holds what came after its start and up to its end."""

    origin_ns: int
    end_ns: int
    width_ns: int


def bins_of(counted: Counted, at: Points) -> Bins:
    """Return bins of which the window before each point is made of whole ones."""
    range_ns = max(counted.range_ns // _MS, 1) * _MS
    width = gcd(range_ns, at.step_ns) if len(at) > 1 else range_ns
    return Bins(at.start_ns - range_ns, at.time_ns(len(at) - 1), width)


def counted_series(counted: Counted, at: Points, bins: Bins, counts: Iterable[LineCount]) -> Series:
    """Return what was counted in the window before each point, by stream."""
    streams: dict[Labels, dict[int, int]] = {}
    for count in counts:
        labels = tuple(sorted(stream_of(count.component, level_of(count.severity_number)).items()))
        found = streams.setdefault(labels, {})
        found[count.bin or 0] = found.get(count.bin or 0, 0) + count.count
    if len(streams) * len(at) > SAMPLES_MAX:
        raise SeriesError(f"{len(streams)} streams at {len(at)} points are too many samples; ask for a longer step")
    width, span = bins.width_ns, (at.start_ns - bins.origin_ns) // bins.width_ns
    divisor = counted.range_ns / 1e9 if counted.function == "rate" else 1.0
    return {labels: _windows(found, at, at.step_ns // width, span, divisor) for labels, found in streams.items()}


def _windows(found: dict[int, int], at: Points, stride: int, span: int, divisor: float) -> dict[int, float]:
    numbers = sorted(found)
    sums = [0]
    for number in numbers:
        sums.append(sums[-1] + found[number])
    values = {}
    for index in range(len(at)):
        first = index * stride
        total = sums[bisect_left(numbers, first + span)] - sums[bisect_left(numbers, first)]
        if total:
            values[index] = total / divisor
    return values


def evaluate(metric: Metric, at: Points, counted: Callable[[Counted], Series]) -> Series:
    """Return the series of a metric; ``counted`` gives those of what it counts."""
    if isinstance(metric, Constant):
        return {(): dict.fromkeys(range(len(at)), metric.value)}
    if isinstance(metric, Counted):
        return counted(metric)
    inner = evaluate(metric.inner, at, counted)
    if metric.function in {"topk", "bottomk"}:
        return _top(metric, inner, at)
    groups: dict[Labels, dict[int, list[float]]] = {}
    for labels, values in inner.items():
        group = groups.setdefault(_group(metric, labels), {})
        for index, value in values.items():
            group.setdefault(index, []).append(value)
    together = _TOGETHER[metric.function]
    return {labels: {i: together(v) for i, v in sorted(group.items())} for labels, group in groups.items()}


_TOGETHER: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": sum,
    "min": min,
    "max": max,
    "count": lambda values: float(len(values)),
    "avg": lambda values: sum(values) / len(values),
}


def _group(metric: Aggregated, labels: Labels) -> Labels:
    return tuple((k, v) for k, v in labels if (k in metric.labels) is not metric.without)


def _top(metric: Aggregated, inner: Series, at: Points) -> Series:
    """Return, at each point, the k largest or smallest of each group, with the labels they had."""
    found: Series = {}
    groups: dict[Labels, list[Labels]] = {}
    for labels in inner:
        groups.setdefault(_group(metric, labels) if metric.labels else (), []).append(labels)
    for members in groups.values():
        for index in range(len(at)):
            there = [(inner[m][index], m) for m in members if index in inner[m]]
            there.sort(key=lambda pair: (pair[0] if metric.function == "bottomk" else -pair[0], pair[1]))
            for value, labels in there[: metric.k]:
                found.setdefault(labels, {})[index] = value
    return found


def counted_in(metric: Metric) -> list[Counted]:
    """Return what a metric counts."""
    if isinstance(metric, Aggregated):
        return counted_in(metric.inner)
    return [metric] if isinstance(metric, Counted) else []
