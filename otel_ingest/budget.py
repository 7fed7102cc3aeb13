"""Bytes in flight: what all requests being read, decoded and stored may weigh together."""

from otel_ingest.errors import Overloaded

# A body in memory, its message (about 1.5 of it), and its rows as COPY bytes (about 1.2 of it).
WEIGHT = 4


class Budget:
    """Counts the weight of requests in flight against ``limit_bytes``; a request is charged while it is read."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def lease(self) -> "Lease":
        """Return the empty lease of one request."""
        return Lease(self)


class Lease:
    """What one request holds of the budget; give it back with ``release`` (more than once is fine)."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def charge(self, body_bytes: int) -> None:
        """Charge more of the body. Raises Overloaded, with nothing charged, when that is past the limit."""
        weight = body_bytes * WEIGHT
        budget = self._budget
        if budget.used_bytes + weight > budget.limit_bytes:
            raise Overloaded(f"{budget.used_bytes} of {budget.limit_bytes} bytes are in flight; try again in a second")
        budget.used_bytes += weight
        self._held += weight

    def release(self) -> None:
        """Give all of it back."""
        self._budget.used_bytes -= self._held
        self._held = 0
