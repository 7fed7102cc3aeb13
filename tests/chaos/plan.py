"""PURE: which fault comes when, from a seed alone: the same seed and length give the same plan on every machine.

Faults of one target never overlap, each has time to recover; faults of different targets do overlap.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Target(StrEnum):
    """What a fault is done to; each target's faults come one after the other."""

    RECEIVER = "receiver"
    POSTGRES = "postgres"
    LINK = "link"


class Kind(StrEnum):
    """What is done."""

    RECEIVER_KILL = "receiver killed (-9), started again"
    RECEIVER_FREEZE = "receiver frozen (SIGSTOP)"
    POSTGRES_KILL = "PostgreSQL killed (-9), started again"
    POSTGRES_IMMEDIATE = "PostgreSQL stopped (immediate), started again"
    POSTGRES_FREEZE = "PostgreSQL frozen (SIGSTOP)"
    POSTGRES_READ_ONLY = "PostgreSQL read-only, as a standby"
    POSTGRES_LOCKED = "tables locked by another session"
    POSTGRES_FULL = "disk of PostgreSQL full"
    SPOOL_FULL = "PostgreSQL away and disk of the spool full"
    CUT = "connections to PostgreSQL cut"
    STALL = "connections to PostgreSQL stalled"
    LOST_ANSWERS = "answers of PostgreSQL withheld, then connections cut"


@dataclass(frozen=True, slots=True)
class Mix:
    """How often a kind comes in 300 s, and how long it lasts (seconds, least and most)."""

    target: Target
    per_300_s: int
    lasts_s: tuple[float, float]


MIX = {
    Kind.RECEIVER_KILL: Mix(Target.RECEIVER, 20, (0.0, 3.0)),
    Kind.RECEIVER_FREEZE: Mix(Target.RECEIVER, 4, (0.5, 8.0)),
    Kind.POSTGRES_KILL: Mix(Target.POSTGRES, 5, (0.0, 8.0)),
    Kind.POSTGRES_IMMEDIATE: Mix(Target.POSTGRES, 5, (0.0, 8.0)),
    Kind.POSTGRES_FREEZE: Mix(Target.POSTGRES, 4, (0.5, 8.0)),
    Kind.POSTGRES_READ_ONLY: Mix(Target.POSTGRES, 3, (0.5, 5.0)),
    Kind.POSTGRES_LOCKED: Mix(Target.POSTGRES, 3, (0.5, 5.0)),
    Kind.POSTGRES_FULL: Mix(Target.POSTGRES, 2, (3.0, 8.0)),
    Kind.SPOOL_FULL: Mix(Target.POSTGRES, 2, (6.0, 12.0)),
    Kind.CUT: Mix(Target.LINK, 7, (0.0, 0.0)),
    Kind.STALL: Mix(Target.LINK, 7, (0.5, 6.0)),
    Kind.LOST_ANSWERS: Mix(Target.LINK, 6, (0.2, 2.0)),
}

# Each target starts again within this on a busy machine; a plan that leaves less would only queue its faults.
RECOVERY_S = {Target.RECEIVER: 3.0, Target.POSTGRES: 2.0, Target.LINK: 0.5}
# Load without faults at the beginning (connections are made) and at the end (what is acknowledged late).
CALM_S = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: begins ``at_s`` after the load, lasts ``lasts_s`` (downtime for what is killed)."""

    at_s: float
    kind: Kind
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.at_s:7.2f} s  {self.kind}" + (f", {self.lasts_s:.2f} s" if self.lasts_s else "")


def make_plan(seed: int, seconds: float, without: Collection[Kind] = ()) -> list[Fault]:
    """Return the faults of a run of ``seconds``, in order of time; kinds in ``without`` are left out.

    Raises ValueError: the faults do not fit, the run is too short.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable is the point
    faults: list[Fault] = []
    for target in Target:
        faults += _of_target(rng, target, seconds, without)
    return sorted(faults, key=lambda fault: fault.at_s)


def _of_target(rng: random.Random, target: Target, seconds: float, without: Collection[Kind]) -> list[Fault]:
    kinds = [
        kind
        for kind, mix in MIX.items()
        if mix.target is target
        for _ in range(max(1, round(mix.per_300_s * seconds / 300)))
    ]
    rng.shuffle(kinds)
    # Drawn for all kinds, left out after: what a machine cannot do does not change the rest of its plan.
    drawn = [(kind, round(rng.uniform(*MIX[kind].lasts_s), 2)) for kind in kinds]
    recovery = RECOVERY_S[target]
    slack = seconds - 2 * CALM_S - sum(lasts + recovery for _, lasts in drawn)
    if slack < 0:
        raise ValueError(f"{seconds:.0f} s are too short for the faults of {target}: {-slack:.0f} s more are needed")
    pauses = sorted(rng.uniform(0, slack) for _ in drawn)
    faults, busy = [], CALM_S
    for (kind, lasts), pause in zip(drawn, pauses, strict=True):
        if kind not in without:
            faults.append(Fault(round(busy + pause, 2), kind, lasts))
        busy += lasts + recovery
    return faults
