"""PURE: rules of retention, and which of them decides about a record.

A rule is about a signal, and of logs about one component, some severities, or both. Of the rules that a record meets
the one with the most conditions decides; of those with as many, the one that keeps longest. A record that meets none
is kept for ever.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.query.fields import BAND, SEVERITIES, SEVERITY_ALIASES, SEVERITY_MAX

SIGNALS = {"logs": "log_records", "spans": "spans", "metrics": "metric_points"}
KEEP_S_MIN, KEEP_S_MAX = 3600, 3650 * 86_400
RULES_MAX = 200
_COMPONENT_CHARS_MAX = 512
_UNITS_S = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_FOR_EVER = frozenset({"forever", "for ever", "never", "unlimited", "infinite"})
_KEEP = re.compile(r"(\d{1,6})\s*(h|d|w)(?:ours?|ays?|eeks?)?\Z")


class RuleError(ValueError):
    """What was asked for is no rule; the text says what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """What a rule is about. Severities are numbers 1 to 24, both edges included; None: any component, any severity."""

    signal: str
    component: str | None = None
    severity_min: int | None = None
    severity_max: int | None = None

    @property
    def conditions(self) -> int:
        """How many conditions it has beside the signal."""
        return (self.component is not None) + (self.severity_min is not None or self.severity_max is not None)

    def matches(self, component: str, severity_number: int) -> bool:
        """Whether a record of the signal meets it; 0, a severity that was not given, meets no condition on it."""
        if self.component is not None and self.component != component:
            return False
        if self.severity_min is None and self.severity_max is None:
            return True
        return (self.severity_min or 1) <= severity_number <= (self.severity_max or 2**31 - 1)

    def words(self) -> str:
        """Return it as people read it: ``logs of shop, severity up to DEBUG``."""
        text = self.signal + (f" of {self.component}" if self.component is not None else "")
        if self.severity_min is not None and self.severity_max is not None:
            return f"{text}, severity {severity_name(self.severity_min)} to {severity_name(self.severity_max)}"
        if self.severity_min is not None:
            return f"{text}, severity {severity_name(self.severity_min)} and above"
        if self.severity_max is not None:
            return f"{text}, severity {severity_name(self.severity_max)} and below"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How long what ``selector`` is about is kept, in seconds; None: for ever."""

    selector: Selector
    keep_s: int | None

    @property
    def strength(self) -> tuple[int, float]:
        """What decides between rules: the greatest wins."""
        return self.selector.conditions, float("inf") if self.keep_s is None else self.keep_s


@dataclass(frozen=True, slots=True)
class Split:
    """The rules of a signal by an age: those whose time is over, and those that still keep."""

    over: tuple[Rule, ...]
    keeping: tuple[Rule, ...]

    @property
    def everything_goes(self) -> bool:
        """Whether no record of that age is kept by any rule: one without conditions is over, none keeps."""
        return not self.keeping and any(rule.selector.conditions == 0 for rule in self.over)

    def goes(self, component: str, severity_number: int) -> bool:
        """Whether a record of that age is not to be kept any longer: a rule that is over decides about it."""
        met = [rule for rule in (*self.over, *self.keeping) if rule.selector.matches(component, severity_number)]
        return bool(met) and max(met, key=lambda rule: rule.strength) in self.over

    def deciding(self) -> list[tuple[Rule, list[Rule]]]:
        """Return each rule that is over with those that keep against it: who meets it, and none of these, goes.

        Rules that keep are longer than all that are over, so with as many conditions they win.
        """
        return [
            (over, [k for k in self.keeping if k.selector.conditions >= over.selector.conditions]) for over in self.over
        ]

    def digest(self) -> str:
        """Return a short name of exactly this split."""
        told = repr([sorted(repr((r.selector, r.keep_s)) for r in rules) for rules in (self.over, self.keeping)])
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def split(rules: Iterable[Rule], signal: str, age_s: float) -> Split:
    """Return the rules of a signal as they stand to records that are ``age_s`` seconds old."""
    mine = [rule for rule in rules if rule.selector.signal == signal]
    over = tuple(rule for rule in mine if rule.keep_s is not None and rule.keep_s <= age_s)
    return Split(over, tuple(rule for rule in mine if rule not in over))


def longest_s(rules: Sequence[Rule], signal: str) -> int | None:
    """Return after how many seconds nothing of a signal is kept any more; None: something is kept for ever."""
    mine = [rule for rule in rules if rule.selector.signal == signal]
    if not any(rule.selector.conditions == 0 for rule in mine) or any(rule.keep_s is None for rule in mine):
        return None
    return max(rule.keep_s for rule in mine if rule.keep_s is not None)


def changed(rules: Sequence[Rule], selector: Selector, rule: Rule | None) -> list[Rule]:
    """Return the rules with one put in the place of that of the same selector, or taken out (None)."""
    others = [other for other in rules if other.selector != selector]
    return others if rule is None else [*others, rule]


def keep_of(text: str) -> int | None:
    """Return the seconds of "12h", "30d", "2w"; None: "forever". Raises RuleError."""
    told = text.strip().lower()
    if told in _FOR_EVER:
        return None
    found = _KEEP.match(told)
    if found is None:
        raise RuleError(f'keep={text[:60]!r}; for example "12h", "30d", "13w" or "forever"')
    seconds = int(found[1]) * _UNITS_S[found[2]]
    if not KEEP_S_MIN <= seconds <= KEEP_S_MAX:
        raise RuleError(f"keep={text[:60]!r} must be 1h to 3650d, or forever")
    return seconds


def keep_words(keep_s: int | None) -> str:
    """Return how long, as ``keep_of`` takes it."""
    if keep_s is None:
        return "forever"
    return f"{keep_s // 86_400}d" if keep_s % 86_400 == 0 else f"{keep_s // 3600}h"


def selector_of(
    signal: str, component: str | None = None, severity_min: str | None = None, severity_max: str | None = None
) -> Selector:
    """Return the selector that people name by words (severities as DEBUG or 5). Raises RuleError."""
    if signal not in SIGNALS:
        raise RuleError(f"signal={signal[:60]!r}; one of {', '.join(SIGNALS)}")
    if signal != "logs" and (component is not None or severity_min is not None or severity_max is not None):
        raise RuleError(f"{signal} have one rule; component and severity are of logs")
    if component is not None and not 1 <= len(component) <= _COMPONENT_CHARS_MAX:
        raise RuleError(f"component must be 1 to {_COMPONENT_CHARS_MAX} characters")
    least = None if severity_min is None else _severity(severity_min, "severity_min")
    most = None if severity_max is None else _severity(severity_max, "severity_max")
    if most is not None and severity_max is not None and not severity_max.strip().isdigit():
        most += BAND - 1  # debug and below takes DEBUG2 to DEBUG4 along
    if least is not None and most is not None and least > most:
        raise RuleError(f"severity_min={severity_min!r} is above severity_max={severity_max!r}")
    return Selector(signal=signal, component=component, severity_min=least, severity_max=most)


def _severity(text: str, name: str) -> int:
    told = text.strip().lower()
    told = SEVERITY_ALIASES.get(told, told)
    if told in SEVERITIES:
        return SEVERITIES[told]
    if told.isdigit() and 1 <= int(told) <= SEVERITY_MAX:
        return int(told)
    raise RuleError(f"{name}={text[:60]!r}; one of {', '.join(SEVERITIES)}, or 1 to {SEVERITY_MAX}")


def severity_name(number: int) -> str:
    """Return DEBUG for 5 and for 8, the edges of its numbers, and so on; what is between is told as the number."""
    names = {value: name.upper() for name, value in SEVERITIES.items()}
    return names.get(number) or names.get(number - BAND + 1) or str(number)
