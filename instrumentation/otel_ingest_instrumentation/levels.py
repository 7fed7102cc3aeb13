"""Levels while running (docs/opamp.md): rules with an end, by logger; what they say is sent, no more and no less.

The application's loggers are not touched: its own output stays as it was, and the end of a rule restores everything.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_ingest_instrumentation import taps

LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "FATAL": 50}
_CACHED_MAX = 10_000  # names made up for each request must not grow it


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``until`` on this process's monotonic clock."""

    id: int
    name: str
    level: str
    until: float


class Levels:
    """The rules in force in this process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._rules: tuple[Rule, ...] = ()
        self._cache: dict[str, int | None] = {}

    def apply(self, loggers: Sequence[Mapping[str, Any]]) -> None:
        """Take the whole list of rules, an empty one ends all. ValueError: one cannot be applied, nothing changed."""
        start = self._now()
        rules = []
        for raw in loggers:
            name, level, seconds = raw.get("name"), raw.get("level"), raw.get("expires_in_s")
            if not isinstance(name, str) or not name or level not in LEVELS or not isinstance(seconds, int | float):
                raise ValueError(f"cannot apply level {level} for {seconds} s to logger {name}")
            if seconds > 0:
                rules.append(Rule(int(raw.get("id", 0)), name, level, start + seconds))
        self._set(tuple(rules))

    def expire(self) -> bool:
        """End what is over; return whether something was."""
        now = self._now()
        left = tuple(rule for rule in self._rules if rule.until > now)
        ended = len(left) < len(self._rules)
        if ended:
            self._set(left)
        return ended

    def next_end_s(self) -> float | None:
        """Return the seconds until the next end, None where no rule is in force."""
        return min((rule.until for rule in self._rules), default=self._now()) - self._now() if self._rules else None

    def threshold(self, name: str) -> int | None:
        """Return the level from which on a logger's records are sent, None where no rule is about it."""
        if not self._rules:
            return None
        try:
            return self._cache[name]
        except KeyError:
            if len(self._cache) > _CACHED_MAX:
                self._cache.clear()
            fitting = [r for r in self._rules if r.name in ("*", name) or name.startswith(f"{r.name}.")]
            best = max(fitting, key=lambda r: (0 if r.name == "*" else len(r.name), r.id), default=None)
            found = self._cache[name] = None if best is None else LEVELS[best.level]
            return found

    def effective(self) -> list[dict[str, Any]]:
        """Return what is in force, as it is reported."""
        now = self._now()
        return [{"name": r.name, "level": r.level, "remaining_s": round(r.until - now, 1)} for r in self._rules]

    def _set(self, rules: tuple[Rule, ...]) -> None:
        before, self._rules = self._rules, rules
        self._cache = {}
        if bool(rules) != bool(before):
            taps.hold(1 if rules else -1)


current = Levels()
taps.threshold = current.threshold
