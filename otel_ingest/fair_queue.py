"""PURE: what waits for a commit. Queues take turns, and within one components do, by bytes: a flood waits alone."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# What a component may have written in its turn before the next one's: some two of the SDKs' batches.
TURN_BYTES = 512 * 1024


@dataclass(slots=True)
class _Lane(Generic[T]):
    """The requests of one component, oldest first, and what it may still take of its turn."""

    waiting: deque[tuple[int, T]] = field(default_factory=deque)
    credit_bytes: int = 0
    has_turn: bool = False


class FairQueue(Generic[T]):
    """Deficit round robin (Shreedhar and Varghese, 1995): O(1) a request, byte-fair whatever the requests' sizes."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Hashable, OrderedDict[str, _Lane[T]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, item: T, queue: Hashable, component: str, size_bytes: int) -> None:
        """Add ``item`` behind those of its component in ``queue`` (its table, say)."""
        lanes = self._queues.setdefault(queue, OrderedDict())
        if (lane := lanes.get(component)) is None:
            lane = lanes[component] = _Lane()
        lane.waiting.append((size_bytes, item))

    def take(self, bytes_max: int) -> list[T]:
        """Take out, of the queue whose turn it is, what fits in ``bytes_max``; one item at least. Empty: []."""
        if not self._queues:
            return []
        name, lanes = next(iter(self._queues.items()))
        taken = _take(lanes, bytes_max)
        if lanes:
            self._queues.move_to_end(name)
        else:
            del self._queues[name]
        return taken

    def remove(self, condition: Callable[[T], bool]) -> list[T]:
        """Take out every item for which ``condition`` holds, wherever it waits."""
        removed: list[T] = []
        for queue, lanes in list(self._queues.items()):
            for component, lane in list(lanes.items()):
                removed += [item for _, item in lane.waiting if condition(item)]
                lane.waiting = deque(entry for entry in lane.waiting if not condition(entry[1]))
                if not lane.waiting:
                    del lanes[component]
            if not lanes:
                del self._queues[queue]
        return removed


def _take(lanes: OrderedDict[str, _Lane[T]], bytes_max: int) -> list[T]:
    taken: list[T] = []
    size = 0
    while lanes:
        component, lane = next(iter(lanes.items()))
        if not lane.has_turn:
            lane.has_turn = True
            lane.credit_bytes += TURN_BYTES
        first_bytes = lane.waiting[0][0]
        if first_bytes > lane.credit_bytes and len(lanes) > 1:
            lane.has_turn = False
            lanes.move_to_end(component)
            continue
        if taken and size + first_bytes > bytes_max:
            return taken
        taken.append(lane.waiting.popleft()[1])
        size += first_bytes
        lane.credit_bytes = max(0, lane.credit_bytes - first_bytes)
        if not lane.waiting:
            del lanes[component]
    return taken
