"""Planning of day partitions: pure, so every case is a line."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from storage.partitions import days_ahead, partition_name, plan

DAYS = st.sets(st.integers(0, 30_000), max_size=30)


def test_names_carry_the_day() -> None:
    """Day 0 is 1970-01-01; the name sorts as the day does."""
    assert partition_name("log_records", 0) == "log_records_p19700101"
    assert partition_name("spans", 20_781) == "spans_p20261124"


@given(existing=DAYS, needed=DAYS)
def test_a_plan_makes_what_is_missing_and_nothing_else(existing: set[int], needed: set[int]) -> None:
    """In order, each day once, none that is there."""
    names = [partition_name("spans", day) for day in existing]

    assert plan(names, "spans", needed, 4_000) == sorted(needed - existing)


@given(existing=DAYS, needed=DAYS, limit=st.integers(0, 40))
def test_a_plan_stays_under_the_limit(existing: set[int], needed: set[int], limit: int) -> None:
    """What is there counts; a table that is over its limit already gets nothing more."""
    names = [partition_name("spans", day) for day in existing]
    made = plan(names, "spans", needed, limit)

    assert len(made) == min(len(needed - existing), max(0, limit - len(existing)))


def test_days_ahead_are_those_of_utc() -> None:
    """Yesterday for late records, today, and as many more as asked for; the caller's zone does not matter."""
    at = datetime(2026, 11, 24, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    today = (datetime(2026, 11, 25, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days

    assert list(days_ahead(at, 2)) == [today - 1, today, today + 1, today + 2]
