"""Bytes in flight: what all requests being read, decoded and stored may weigh together."""

import asyncio

from otel_ingest.errors import Overloaded

# In quarters: a body in memory (1), and its rows as COPY bytes (1.25, measured on what SDKs send).
_WEIGHT_QUARTERS = 9
# Of a row is kept where it ends and its position; those the plain way made are an object each.
ROW_OVERHEAD_BYTES = 64


def weight_of(body_bytes: int) -> int:
    """Return what a request of ``body_bytes`` weighs until it is committed, in bytes of memory."""
    return body_bytes * _WEIGHT_QUARTERS // 4


class Budget:
    """Counts the weight of requests in flight against ``limit_bytes``; a request is charged while it is read."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.decompressing = asyncio.Lock()
        """Held for each turn of decompressing: one body at a time."""

    def lease(self) -> "Lease":
        """Return the empty lease of one request."""
        return Lease(self)


class Lease:
    """What one request holds of the budget; give it back with ``release`` (more than once is fine)."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    @property
    def decompressing(self) -> asyncio.Lock:
        """The lock of all requests: see ``Budget``."""
        return self._budget.decompressing

    def charge(self, body_bytes: int) -> None:
        """Charge more of the body, with the rows it will become. Raises Overloaded, with nothing charged."""
        self._hold(self._held + weight_of(body_bytes))

    def refund(self, body_bytes: int) -> None:
        """Give back what ``charge`` of as many bytes took."""
        self._hold(self._held - weight_of(body_bytes))

    def settle(self, held_bytes: int) -> None:
        """Hold ``held_bytes`` of memory from now on: what was an estimate is known. Raises Overloaded, as before."""
        self._hold(held_bytes)

    def move(self) -> "Lease":
        """Return a lease that holds what this one held; this one is empty: who goes on with the request owns it."""
        moved = Lease(self._budget)
        moved._held, self._held = self._held, 0
        return moved

    def release(self) -> None:
        """Give all of it back."""
        self._budget.used_bytes -= self._held
        self._held = 0

    def _hold(self, weight: int) -> None:
        budget = self._budget
        more = weight - self._held
        if more > 0 and budget.used_bytes + more > budget.limit_bytes:
            raise Overloaded(f"{budget.used_bytes} of {budget.limit_bytes} bytes are in flight; try again in a second")
        budget.used_bytes += more
        self._held = weight
