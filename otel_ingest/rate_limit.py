"""PURE: bytes a second that each component may send: a bucket each, over its limit until what it took has run off."""

from collections.abc import Mapping

from otel_ingest.errors import Overloaded

# What a component may send at once after a rest: SDKs send in bursts.
_BURST_S = 2.0
# A bucket that was not used for so long is full, and forgotten.
_COMPONENTS_MAX = 10_000


class ComponentRates:
    """Buckets by component. A request is taken whole while its bucket holds anything, however large it is.

    So a request larger than the burst is not refused for ever; its component waits longer after it.
    """

    def __init__(self, bytes_per_s: int) -> None:
        """``bytes_per_s``: 0 means no limit."""
        self._rate = bytes_per_s
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, bytes_by_component: Mapping[str, int], now_s: float) -> None:
        """Charge each component its bytes. Raises Overloaded, with nothing charged, when one has none left."""
        if not self._rate:
            return
        left = {component: self._left(component, now_s) for component in bytes_by_component}
        for component, available in left.items():
            if available <= 0:
                raise Overloaded(
                    f"{component} sends more than {self._rate} bytes a second (component_bytes_per_s_max); "
                    "try again in a second"
                )
        for component, size in bytes_by_component.items():
            self._buckets.pop(component, None)
            self._buckets[component] = (left[component] - size, now_s)
        while len(self._buckets) > _COMPONENTS_MAX:
            del self._buckets[next(iter(self._buckets))]

    def _left(self, component: str, now_s: float) -> float:
        full = self._rate * _BURST_S
        available, at = self._buckets.get(component, (full, now_s))
        return min(full, available + (now_s - at) * self._rate)
