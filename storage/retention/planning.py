"""PURE: what is there and the rules -> the steps to take, each with its reason. Nothing to do is no step.

Age counts from the end of a partition's range, or from when the partition was made where that was later: what arrives
late is kept as long as what arrives in time. So a record is kept at least as long as its rule says, and at most one
partition's length longer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from storage.periods import Range
from storage.retention.rules import SIGNALS, Rule, Split, keep_words, longest_s, split

Kind = Literal["make", "finalize", "drop", "drop detached", "delete", "index"]
State = Literal["attached", "detaching", "expired"]
# Upkeep has yesterday's partition ready for late records: what is over of it is deleted, the partition goes later.
LATE = timedelta(days=2)
_NO_SPLIT = Split((), ())
_SIGNAL_OF = {table: signal for signal, table in SIGNALS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A partition as retention sees it.

    ``state``: attached; detaching, where a detach was cut off; or expired, detached by retention and not dropped yet.
    ``made_at``: None where it is not known. ``empty``: no row is in it. ``done``: which split of the rules was carried
    out in it, while no row was added since. ``cold_records``, ``cold_bytes``: in files beside PostgreSQL
    (``storage.cold``), not among ``rows`` and ``bytes``.
    """

    table: str
    name: str
    bounds: Range
    rows: int = 0
    bytes: int = 0
    state: State = "attached"
    made_at: datetime | None = None
    empty: bool = False
    done: str = ""
    cold_records: int = 0
    cold_bytes: int = 0

    @property
    def signal(self) -> str:
        """The signal whose records it holds."""
        return _SIGNAL_OF[self.table]

    @property
    def age_from(self) -> datetime:
        """From when on its age counts."""
        return max(self.bounds.until, self.made_at) if self.made_at is not None else self.bounds.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do to one partition. ``rows`` and ``bytes``: PostgreSQL's estimate of all that is in it.

    ``make``: create and attach. ``finalize``: end a detach that was cut off. ``drop``: detach beside the writers, then
    drop. ``drop detached``: drop what was detached before. ``delete``: delete what ``split`` says, in small steps.
    ``index``: build the index of a closed partition (``storage.sealing``).
    """

    kind: Kind
    table: str
    name: str
    bounds: Range
    reason: str
    rows: int = 0
    bytes: int = 0
    split: Split = _NO_SPLIT

    @property
    def destroys(self) -> bool:
        """Whether records are gone after it."""
        return self.kind in {"drop", "drop detached", "delete"}


def steps(held: Iterable[Held], rules: Sequence[Rule], now: datetime) -> list[Step]:
    """Return what retention is to do now, oldest first."""
    found = [step for partition in held if (step := _step(partition, rules, now)) is not None]
    return sorted(found, key=lambda step: (step.bounds, step.table, step.kind))


def _step(held: Held, rules: Sequence[Rule], now: datetime) -> Step | None:
    """Return what is to be done to one partition; a detach that was cut off is ended first."""
    if held.state == "detaching":
        return _of(held, "finalize", "a detach of it was cut off")
    if held.state == "expired":
        return _of(held, "drop detached", "it was detached to be dropped")
    at_age = split(rules, held.signal, (now - held.age_from).total_seconds())
    needed = now < held.bounds.until + LATE
    if at_age.everything_goes and not needed:
        longest = keep_words(longest_s(rules, held.signal))
        return _of(held, "drop", f"all of it is older than {longest}, the longest that {held.signal} are kept")
    if held.empty:
        base_is_over = any(rule.selector.conditions == 0 for rule in at_age.over)
        return _of(held, "drop", "nothing is in it any more") if base_is_over and not needed else None
    if not at_age.over or held.done == at_age.digest():
        return None
    told = "; ".join(f"{rule.selector.words()}: {keep_words(rule.keep_s)}" for rule in at_age.over)
    return _of(held, "delete", f"its time is over for {told}", at_age)


def _of(held: Held, kind: Kind, reason: str, at_age: Split = _NO_SPLIT) -> Step:
    return Step(
        kind=kind,
        table=held.table,
        name=held.name,
        bounds=held.bounds,
        reason=reason,
        rows=held.rows,
        bytes=held.bytes,
        split=at_age,
    )


def next_steps(held: Iterable[Held], rules: Sequence[Rule], now: datetime) -> list[tuple[datetime, str, str, str]]:
    """Return when the time of which rule is over in which partition: (when, table, partition, rule), soonest first.

    Of each rule the next one alone.
    """
    found: dict[Rule, tuple[datetime, str, str, str]] = {}
    for partition in held:
        for rule in rules:
            if rule.selector.signal != partition.signal or rule.keep_s is None or partition.state != "attached":
                continue
            when = datetime.fromtimestamp(partition.age_from.timestamp() + rule.keep_s, partition.age_from.tzinfo)
            known = found.get(rule)
            if when > now and (known is None or when < known[0]):
                found[rule] = (when, partition.table, partition.name, rule.selector.words())
    return sorted(found.values())
