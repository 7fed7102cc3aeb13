"""PURE: counts by time and severity -> the bars of a histogram."""

from collections.abc import Iterable
from dataclasses import dataclass

from storage.views import LogCount

BARS_MAX = 90
_NS = 1_000_000_000
# Widths people count in: 1, 2, 5, 10, 15, 30 s and min; 1, 2, 3, 6, 12 h; days.
_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
LEVELS = ("unset", "trace", "debug", "info", "warn", "error", "fatal")
HEIGHT = 100.0
# What is rare must not vanish below what is common.
_HEIGHT_MIN = 2.5


@dataclass(frozen=True, slots=True)
class Bar:
    """One interval: where it stands, its parts as (level, y, height) from below, and its counts."""

    start_ns: int
    end_ns: int
    x: int
    parts: list[tuple[str, float, float]]
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """All records of the interval."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars over a window; ``bars`` holds those with records alone, ``slots`` is how many there could be."""

    since_ns: int
    until_ns: int
    interval_s: int
    slots: int
    bars: list[Bar]
    most: int


def interval_s(since_ns: int, until_ns: int) -> int:
    """Return the width of a bar in seconds: the least that makes no more than BARS_MAX of them."""
    span_s = max(1, (until_ns - since_ns) // _NS)
    fitting = [width for width in _WIDTHS_S if span_s / width <= BARS_MAX - 1]
    return fitting[0] if fitting else 86_400 * -(-span_s // (86_400 * (BARS_MAX - 1)))


def draw(counts: Iterable[LogCount], since_ns: int, until_ns: int, width_s: int) -> Histogram:
    """Return the bars of counts by severity and interval of ``width_s``."""
    width_ns = width_s * _NS
    first = since_ns // width_ns
    slots = max(1, -(-until_ns // width_ns) - first)
    by_bin: dict[int, dict[str, int]] = {}
    for count in counts:
        found = by_bin.setdefault((count.start_ns or 0) // width_ns - first, {})
        name = count.group.get("severity", "UNSET").lower()
        found[name] = found.get(name, 0) + count.count
    inside = {x: found for x, found in by_bin.items() if 0 <= x < slots}
    most = max((sum(found.values()) for found in inside.values()), default=0)
    bars = []
    for x, found in sorted(inside.items()):
        start = (first + x) * width_ns
        bars.append(Bar(start, start + width_ns, x, _parts(found, most), found))
    return Histogram(since_ns, until_ns, width_s, slots, bars, most)


def _parts(counts: dict[str, int], most: int) -> list[tuple[str, float, float]]:
    """Return (level, y, height), the gravest at the foot; each at least as high as can be seen."""
    heights = {
        level: max(HEIGHT * counts[level] / most, _HEIGHT_MIN) for level in reversed(LEVELS) if counts.get(level)
    }
    scale = min(1.0, HEIGHT / sum(heights.values()))
    parts, foot = [], HEIGHT
    for level, height in heights.items():
        foot -= height * scale
        parts.append((level, round(foot, 2), round(height * scale, 2)))
    return parts
