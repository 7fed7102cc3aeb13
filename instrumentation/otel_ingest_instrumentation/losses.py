"""The book of what was lost: counted by signal and time, said locally at once, reported as a record later."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from otel_ingest_instrumentation import loud


@dataclass(slots=True)
class Loss:
    """Records lost of one signal: how many, between which nanoseconds, and why (the latest reason)."""

    count: int = 0
    first: int = 0
    last: int = 0
    reason: str = ""

    def __str__(self) -> str:
        """Return ``4,812 records 10:02-10:09: the spool was full``."""
        span = "-".join(dict.fromkeys(time.strftime("%H:%M", time.localtime(t / 1e9)) for t in (self.first, self.last)))
        return f"{self.count:,} records {span}: {self.reason}"


class Losses:
    """Totals for the metric, and what is still to be reported as a record."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self._open: dict[str, Loss] = {}
        self._lock = threading.Lock()
        self.on_add: Callable[[], object] = lambda: None

    @property
    def open(self) -> bool:
        """Whether something is still to be reported."""
        return bool(self._open)

    def add(self, signal: str, count: int, first: int, last: int, reason: str) -> None:
        """Count lost records and say so on stderr."""
        if count <= 0:
            return
        with self._lock:
            self.totals[signal] = self.totals.get(signal, 0) + count
            loss = self._open.setdefault(signal, Loss(first=first, last=last))
            loss.count += count
            loss.first = min(loss.first, first)
            loss.last = max(loss.last, last)
            loss.reason = reason
            text = f"lost {signal} {loss}"
        loud.say(text, kind=f"lost {signal}")
        self.on_add()

    def take(self) -> dict[str, Loss]:
        """Return what is to be reported, and forget it."""
        with self._lock:
            taken, self._open = self._open, {}
        return taken

    def give_back(self, losses: dict[str, Loss]) -> None:
        """Take back what could not be reported."""
        with self._lock:
            for signal, loss in losses.items():
                now = self._open.setdefault(signal, Loss(first=loss.first, last=loss.last, reason=loss.reason))
                now.count += loss.count
                now.first = min(now.first, loss.first)
                now.last = max(now.last, loss.last)

    def reset_after_fork(self) -> None:
        """Leave the parent's losses to the parent."""
        self._lock = threading.Lock()
        self._open = {}
        self.totals = {}
