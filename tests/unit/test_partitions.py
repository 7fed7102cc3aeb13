"""Planning of partitions: pure, so every case is a line."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.partitions import There, partition_name, plan
from storage.periods import (
    PERIODS,
    Range,
    covered,
    day_range,
    days_ahead,
    missing,
    range_name,
    range_of_bounds,
    range_of_name,
)

DAYS = st.sets(st.integers(0, 30_000), max_size=30)
NEAR = st.sets(st.integers(20_000, 20_040), max_size=12)


def there(days: set[int]) -> There:
    """Return the partitions of days."""
    return There([day_range(day) for day in days], [])


def test_names_carry_the_day() -> None:
    """Day 0 is 1970-01-01; the name sorts as the day does."""
    assert partition_name("log_records", 0) == "log_records_p19700101"
    assert partition_name("spans", 20_781) == "spans_p20261124"


@given(existing=DAYS, needed=DAYS)
def test_a_plan_makes_what_is_missing_and_nothing_else(existing: set[int], needed: set[int]) -> None:
    """In order, each day once, none that is there."""
    assert plan(there(existing), "day", needed, 4_000) == [day_range(day) for day in sorted(needed - existing)]


@given(existing=DAYS, needed=DAYS, limit=st.integers(0, 40))
def test_a_plan_stays_under_the_limit(existing: set[int], needed: set[int], limit: int) -> None:
    """What is there counts; a table that is over its limit already gets nothing more."""
    made = plan(there(existing), "day", needed, limit)

    assert len(made) == min(len(needed - existing), max(0, limit - len(existing)))


@given(steps=st.lists(st.tuples(st.sampled_from(PERIODS), NEAR), max_size=6), gone=st.randoms())
def test_periods_may_change_at_any_time(steps: list[tuple[str, set[int]]], gone: st.DataObject) -> None:
    """Whatever was made before, and whatever of it was dropped: new ranges cover what is asked for, none overlaps."""
    present: list[Range] = []
    for period, days in steps:
        present = [r for r in present if gone.random() < 0.8]  # type: ignore[attr-defined]
        made = missing(present, period, days)
        present = sorted([*present, *made])

        assert covered(present, days) == days
        assert not missing(present, period, days)
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(present))
        assert all(range_of_name(range_name("spans", r)) == r for r in made)
        assert all(timedelta(hours=1) <= r.until - r.since <= timedelta(days=7) for r in made)


def test_days_ahead_are_those_of_utc() -> None:
    """Yesterday for late records, today, and as many more as asked for; the caller's zone does not matter."""
    at = datetime(2026, 11, 24, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    today = (datetime(2026, 11, 25, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days

    assert list(days_ahead(at, 2)) == [today - 1, today, today + 1, today + 2]


def test_weeks_begin_on_monday_and_hours_are_of_utc() -> None:
    """2026-11-24 is a Tuesday; a day has 24 hours, also where a summer time ends."""
    (week,) = missing([], "week", [20_781])

    assert (week.since, week.until) == (datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC))
    assert range_name("spans", week) == "spans_p2026112300_168h"
    assert len(missing([], "hour", [20_751])) == 24


@pytest.mark.parametrize(
    ("expression", "since", "until"),
    [
        ("FOR VALUES FROM ('2026-11-24 00:00:00+00') TO ('2026-11-25 00:00:00+00')", 20_781, 20_782),
        ("FOR VALUES FROM ('2026-11-24 09:00:00+09') TO ('2026-11-25 09:00:00+09')", 20_781, 20_782),
        ("FOR VALUES FROM ('2026-11-23 20:30:00-03:30') TO ('2026-11-24 20:30:00-03:30')", 20_781, 20_782),
    ],
)
def test_bounds_are_read_in_every_zone(expression: str, since: int, until: int) -> None:
    """PostgreSQL shows them in the session's zone."""
    assert range_of_bounds(expression) == Range(day_range(since).since, day_range(until).since)


def test_other_bounds_and_names() -> None:
    """No range is no range; an edge that is open is far away."""
    assert range_of_bounds("DEFAULT") is None
    assert range_of_name("log_records_p20261345") is None
    assert range_of_name("log_records_old") is None
    edge = range_of_bounds("FOR VALUES FROM (MINVALUE) TO ('2026-11-25 00:00:00+00')")
    assert edge is not None
    assert edge.overlaps(day_range(0))
