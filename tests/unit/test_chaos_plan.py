"""The plans of the fault runs: the same from the same seed, complete, and possible."""

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.frames import Moment
from tests.chaos.killpoints import COMBINATIONS, Victim, draw
from tests.chaos.plan import CALM_S, MIX, RECOVERY_S, Kind, Target, make_plan


def test_same_seed_same_plan() -> None:
    """A run can be repeated; another seed is another run."""
    assert make_plan(7, 300) == make_plan(7, 300)
    assert make_plan(7, 300) != make_plan(8, 300)
    assert draw(7, 100) == draw(7, 100)
    assert draw(7, 100) != draw(8, 100)


@pytest.mark.parametrize("seed", range(50))
def test_five_minutes_hold_every_fault(seed: int) -> None:
    """Every kind as often as the mix says, in time, and none of a target before the one before it has healed."""
    plan = make_plan(seed, 300)

    assert Counter(fault.kind for fault in plan) == {kind: mix.per_300_s for kind, mix in MIX.items()}
    assert all(fault.at_s >= CALM_S and fault.at_s + fault.lasts_s <= 300 - CALM_S for fault in plan)
    for target in Target:
        own = [fault for fault in plan if MIX[fault.kind].target is target]
        assert all(b.at_s >= a.at_s + a.lasts_s + RECOVERY_S[target] - 0.02 for a, b in pairwise(own))


def test_a_minute_holds_each_kind() -> None:
    """The short run of `make test` does every kind at least once."""
    assert {fault.kind for fault in make_plan(1, 60)} == set(Kind)


def test_what_cannot_be_done_here_changes_nothing_else() -> None:
    """A machine without small disks runs the same plan less the full disks."""
    full = {Kind.POSTGRES_FULL, Kind.SPOOL_FULL}

    assert make_plan(3, 300, full) == [fault for fault in make_plan(3, 300) if fault.kind not in full]


def test_too_short_is_said() -> None:
    """Faults that do not fit are an error, not a shorter list."""
    with pytest.raises(ValueError, match="too short"):
        make_plan(1, 20)


def test_kill_points_cover_every_combination() -> None:
    """Each moment, before, inside and after, for each victim, before any of them comes again."""
    everything = len(COMBINATIONS)
    combinations = [(point.moment, point.when, point.victim) for point in draw(1, 2 * everything)]

    assert everything == len(Moment) * 3 * (len(Victim) - 1) + 3
    assert set(combinations[:everything]) == set(COMBINATIONS)
    assert Counter(combinations) == Counter(combinations[:everything] * 2)
