"""PURE: what a run found, as text."""

from collections import Counter
from collections.abc import Sequence

from tests.chaos.faults import Done
from tests.chaos.journal import Answer
from tests.chaos.plan import Fault
from tests.chaos.verdict import Call, Verdict, silences, spans_of

_SILENCE_S = 2.0
_NAMED_MAX = 400


def plan_text(seed: int, seconds: float, faults: Sequence[Fault], skipped: str | None) -> str:
    """Return the seed and the plan, so that the run can be repeated."""
    lines = [f"seed {seed}, {seconds:.0f} s, {len(faults)} faults", *(f"  {fault}" for fault in faults)]
    if skipped:
        lines.append(f"full disks are left out: {skipped}")
    return "\n".join(lines)


def faults_text(done: Sequence[Done]) -> str:
    """Return the faults by kind: how many, when, and how long until all ran again."""
    lines = ["faults done (begun at, seconds until healed)"]
    by_kind: dict[str, list[Done]] = {}
    for entry in done:
        by_kind.setdefault(entry.fault.kind, []).append(entry)
    for kind, entries in sorted(by_kind.items()):
        times = " ".join(f"{e.began_s:.1f}+{e.healed_s - e.began_s:.1f}" for e in entries)
        lines.append(f"  {len(entries):3d} x {kind}: {times}")
    return "\n".join(lines)


def verdict_text(verdict: Verdict) -> str:
    """Return the sums, and the names of the records that are wrong."""
    lines = [
        "records",
        f"  sent          {verdict.sent:9d}",
        f"  acknowledged  {verdict.acknowledged:9d}",
        f"  failed        {verdict.failed:9d}  the exporter gave up after its 10 s",
        f"  unanswered    {verdict.unanswered:9d}  the export call never returned",
        f"  stored        {verdict.stored:9d}  of them never acknowledged: {verdict.stored_unacknowledged}",
    ]
    for name, records in (("lost", verdict.lost), ("doubled", verdict.doubled), ("invented", verdict.invented)):
        lines.append(f"  {name:12s}  {len(records):9d}" + (f"  {spans_of(records)[:_NAMED_MAX]}" if records else ""))
    return "\n".join(lines)


def refusals_without_delay(answers: Sequence[Answer]) -> list[Answer]:
    """Return what the server refused without saying when to try again."""
    return [answer for answer in answers if answer.ours and answer.delay is None]


def answers_text(answers: Sequence[Answer]) -> str:
    """Return the answers that were no success by transport and code, and whether each carried its delay."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for answer in answers:
        kind = "by the client's own library" if not answer.ours else f"delay {answer.delay or 'MISSING'}"
        sums[answer.transport, answer.code, kind] += 1
    lines = ["answers other than success"]
    lines += [f"  {count:6d} x {transport} {code}, {kind}" for (transport, code, kind), count in sorted(sums.items())]
    for answer in refusals_without_delay(answers)[:5]:
        lines.append(f"  without a delay: {answer.transport} {answer.code} {answer.detail}")
    return "\n".join(lines)


def silences_text(calls: Sequence[Call]) -> str:
    """Return the stretches in which no process had anything acknowledged."""
    found = silences(calls, _SILENCE_S)
    if not found:
        return f"never {_SILENCE_S:.0f} s without an acknowledgement"
    first = min(call.began_s for call in calls)
    times = " ".join(f"{since - first:.1f}+{length:.1f}" for since, length in found)
    return f"{len(found)} times {_SILENCE_S:.0f} s or more without an acknowledgement (at+seconds): {times}"
