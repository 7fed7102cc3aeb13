"""Records below their logger's level, for our handler alone: two methods of ``logging.Logger`` that are ours meanwhile.

While no request is marked (verbose.py) and no rule is in force (levels.py), Logger is as Python made it, and costs what
it always cost. Whatever the application's own level lets through goes to its handlers as ever.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

TRACE = 5


class Allowance(Protocol):
    """What a marked request may still log."""

    def wants(self) -> bool:
        """Return whether it may make another record."""

    def take(self, record: logging.LogRecord, deliver: Callable[[logging.LogRecord], object]) -> None:
        """Deliver a record and count it."""


_lock = threading.RLock()  # a finaliser may run while this thread holds it
_held = 0
_is_enabled_for = logging.Logger.isEnabledFor
_call_handlers = logging.Logger.callHandlers
_deliver: Callable[[logging.LogRecord], object] | None = None


def _no_allowance() -> Allowance | None:
    return None


def _no_threshold(_name: str) -> int | None:
    return None


allowance: Callable[[], Allowance | None] = _no_allowance
threshold: Callable[[str], int | None] = _no_threshold


def install(deliver: Callable[[logging.LogRecord], object]) -> None:
    """Say where such records go: past every other handler."""
    global _deliver  # noqa: PLW0603
    _deliver = deliver


def hold(change: int) -> None:
    """Count who needs the methods; put them in place for the first, and take them away after the last."""
    global _held  # noqa: PLW0603
    with _lock:
        _held += change
        ours = _held > 0
        logging.Logger.isEnabledFor = _enabled if ours else _is_enabled_for  # type: ignore[method-assign]
        logging.Logger.callHandlers = _call if ours else _call_handlers  # type: ignore[method-assign]


def held() -> bool:
    """Return whether the methods are ours now."""
    return _held > 0


def wanted(name: str, level: int) -> bool:
    """Return whether a record that its logger would not make is wanted."""
    if not _held:
        return False
    rule = threshold(name)
    if rule is not None and level >= rule:
        return True
    mark = allowance() if level >= TRACE else None
    return mark is not None and mark.wants()


def unwanted(name: str, level: int) -> bool:
    """Return whether a rule keeps a record back that its logger made."""
    if not _held:
        return False
    rule = threshold(name)
    return rule is not None and level < rule and not ((mark := allowance()) is not None and mark.wants())


def _enabled(self: logging.Logger, level: int) -> bool:
    return _is_enabled_for(self, level) or wanted(self.name, level)


def _call(self: logging.Logger, record: logging.LogRecord) -> None:
    if _is_enabled_for(self, record.levelno):
        _call_handlers(self, record)
        return
    if _deliver is None:
        return
    rule = threshold(self.name)
    if rule is not None and record.levelno >= rule:
        _deliver(record)
    elif (mark := allowance()) is not None:
        mark.take(record, _deliver)
