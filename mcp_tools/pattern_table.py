"""PURE: messages of one window, or of two -> patterns with counts, shares and what changed between the windows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from mcp_tools.mining import Miner
from storage.mapping import severity_name
from storage.views import LogNode

Change = Literal["new", "gone", "shifted", "same"]
TREND_BINS = 8
_BARS = "▁▂▃▄▅▆▇█"
# A share that doubles or halves has shifted, if it is about at least so many records.
_SHIFT = 2.0
_SHIFT_RECORDS_MIN = 5


@dataclass(slots=True)
class Pattern:
    """One template of one component and severity. ``sample``: the first record that was read of it."""

    component: str
    severity: str
    template: str
    sample: LogNode
    count: int = 0
    base_count: int = 0
    bins: list[int] = field(default_factory=lambda: [0] * TREND_BINS)
    change: Change = "same"

    def trend(self) -> str:
        """Return the counts over the window as bars."""
        most = max(self.bins)
        return "".join(_BARS[count * (len(_BARS) - 1) // most] if count else "·" for count in self.bins) if most else ""


def patterns_of(
    records: Iterable[LogNode], base: Iterable[LogNode], since_ns: int, until_ns: int
) -> tuple[list[Pattern], int, int]:
    """Return the patterns, the largest first, and how many records of the window and of the base were counted.

    Templates are mined over both, so that they can be compared.
    """
    miners: dict[tuple[str, str], Miner] = {}
    found: dict[tuple[str, str, int], Pattern] = {}
    totals = [0, 0]
    width = max((until_ns - since_ns) // TREND_BINS, 1)
    for of_base, some in ((False, records), (True, base)):
        for record in some:
            totals[of_base] += 1
            where = (record.component, severity_name(record.severity_number))
            if (miner := miners.get(where)) is None:
                miner = miners[where] = Miner()
            key = (*where, miner.add(record.body))
            if (pattern := found.get(key)) is None:
                pattern = found[key] = Pattern(*where, "", record)
            if of_base:
                pattern.base_count += 1
            else:
                pattern.count += 1
                pattern.bins[min(max((record.time_ns - since_ns) // width, 0), TREND_BINS - 1)] += 1
    for (component, severity, index), pattern in found.items():
        pattern.template = str(miners[component, severity].templates[index])
    ordered = sorted(found.values(), key=lambda p: (-p.count, -p.base_count, p.component, p.template))
    return ordered, totals[0], totals[1]


def mark_changes(patterns: list[Pattern], total: int, base_total: int) -> list[Pattern]:
    """Say of each pattern whether it is new, gone or shifted; return them in this order, the largest first."""
    for p in patterns:
        share, before = p.count / max(total, 1), p.base_count / max(base_total, 1)
        if not p.base_count:
            p.change = "new"
        elif not p.count:
            p.change = "gone"
        elif abs(p.count - p.base_count) >= _SHIFT_RECORDS_MIN and not before / _SHIFT < share < before * _SHIFT:
            p.change = "shifted"
    order: tuple[Change, ...] = ("new", "gone", "shifted", "same")
    return sorted(patterns, key=lambda p: (order.index(p.change), -max(p.count, p.base_count)))
