"""PURE: what was sent and acknowledged against what is stored, record by record.

Counts alone would hide a loss behind a duplicate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Record = tuple[str, int]
"""A record's id: its stream (signal, process, lane) and its number in it."""


@dataclass(slots=True)
class Call:
    """One call of an SDK exporter: the records it was given, when, and what it returned."""

    records: Sequence[Record]
    began_s: float
    ended_s: float | None = None
    """None: it never returned."""
    result: str | None = None
    """SUCCESS, FAILURE; None: it never returned."""

    @property
    def acknowledged(self) -> bool:
        """Whether the sender was told that all is well."""
        return self.result == "SUCCESS"


@dataclass(slots=True)
class Verdict:
    """The sums, and by name each record that is wrong."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    unanswered: int = 0
    stored: int = 0
    stored_unacknowledged: int = 0
    """Stored though the sender was never told so: allowed, once."""
    lost: list[Record] = field(default_factory=list)
    """Acknowledged and not stored."""
    doubled: list[Record] = field(default_factory=list)
    """Stored more than once."""
    invented: list[Record] = field(default_factory=list)
    """Stored and never sent."""

    @property
    def clean(self) -> bool:
        """Whether every record is where it must be."""
        return not (self.lost or self.doubled or self.invented)


def judge(calls: Iterable[Call], stored: Mapping[Record, int]) -> Verdict:
    """Return what became of every record; ``stored`` says how often each is there."""
    verdict = Verdict(stored=sum(stored.values()))
    sent: set[Record] = set()
    for call in calls:
        sent.update(call.records)
        verdict.sent += len(call.records)
        if call.acknowledged:
            verdict.acknowledged += len(call.records)
            verdict.lost += [record for record in call.records if record not in stored]
            continue
        if call.result is None:
            verdict.unanswered += len(call.records)
        else:
            verdict.failed += len(call.records)
        verdict.stored_unacknowledged += sum(record in stored for record in call.records)
    verdict.doubled = sorted(record for record, times in stored.items() if times > 1)
    verdict.invented = sorted(record for record in stored if record not in sent)
    return verdict


def silences(calls: Iterable[Call], at_least_s: float) -> list[tuple[float, float]]:
    """Return (since, seconds) of each stretch of ``at_least_s`` or more in which nobody was acknowledged."""
    ended = sorted(call.ended_s for call in calls if call.acknowledged and call.ended_s is not None)
    return [(a, b - a) for a, b in pairwise(ended) if b - a >= at_least_s]


def spans_of(records: Iterable[Record]) -> str:
    """Return records as text, runs of numbers together: logs-0-0 12-40 57."""
    by_stream: dict[str, list[list[int]]] = {}
    for stream, number in sorted(records):
        runs = by_stream.setdefault(stream, [])
        if runs and runs[-1][1] + 1 == number:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    parts = []
    for stream, runs in by_stream.items():
        parts.append(f"{stream} " + " ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs))
    return "; ".join(parts)
