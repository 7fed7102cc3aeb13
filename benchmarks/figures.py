"""What benchmarks make of the times they measured."""

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least of ``values`` that ``share`` (0 to 1) of them do not exceed, or nearly; not of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
