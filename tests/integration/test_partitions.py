"""Making partitions on real PostgreSQL: at the same time, beside readers, and looked at."""

import asyncio
import itertools
from calendar import timegm
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import partitions
from storage.config import StorageConfig
from storage.engine import write_engine
from storage.periods import PERIODS, Range, covered, day_range
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_receivers_make_the_same_days_at_the_same_time(engine: AsyncEngine, database_url: str) -> None:
    """Two servers, the same hundred days: both succeed, each day is there once."""
    other = write_engine(StorageConfig(database_url))
    days = set(range(20_000, 20_100))
    try:
        made = await asyncio.gather(*(partitions.ensure_days(e, "spans", days) for e in (engine, other)))
    finally:
        await other.dispose()

    assert made == [days, days]
    assert len(await partitions.list_partitions(engine)) == 100


async def test_a_reader_does_not_hold_partitions_up(engine: AsyncEngine) -> None:
    """A read transaction is open on the parent: no lock we take waits for it."""
    async with engine.connect() as reader:
        await reader.execute(text("SELECT count(*) FROM spans"))

        made = await asyncio.wait_for(partitions.ensure_days(engine, "spans", {20_000}), timeout=2)

    assert made == {20_000}


async def test_upkeep_makes_the_days_of_all_tables_once(engine: AsyncEngine) -> None:
    """Yesterday to three days ahead, in UTC; a second look changes nothing."""
    await partitions.maintain(engine, NOW, ahead=3)
    await partitions.maintain(engine, NOW, ahead=3)
    found = await partitions.list_partitions(engine)

    midnight = NOW.replace(hour=0)
    assert [(p.table, p.since) for p in found] == [
        (table, midnight + timedelta(days=day))
        for table in ("log_records", "metric_points", "spans")
        for day in range(-1, 4)
    ]
    assert all(p.until - p.since == timedelta(days=1) and p.bytes > 0 for p in found)


async def test_bounds_are_utc_whatever_the_session_says(engine: AsyncEngine) -> None:
    """A session in another zone makes a day that begins at midnight UTC."""
    async with engine.begin() as connection:
        await connection.execute(text("SET TIME ZONE 'America/New_York'"))
        await partitions._create(connection, "spans", day_range(20_000))
        await connection.execute(text("SET TIME ZONE 'UTC'"))
        bounds = await connection.execute(
            text("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'spans_p20241004'")
        )

        assert bounds.scalar_one() == "FOR VALUES FROM ('2024-10-04 00:00:00+00') TO ('2024-10-05 00:00:00+00')"


async def ranges(engine: AsyncEngine, table: str) -> list[Range]:
    """Return the bounds of a table's partitions, in order."""
    return sorted(Range(p.since, p.until) for p in await partitions.list_partitions(engine) if p.table == table)


async def test_a_changed_period_fills_the_gaps(engine: AsyncEngine) -> None:
    """Days, then weeks, then hours, then days again: what is there keeps its bounds, nothing overlaps, all is covered.

    24 November 2026 is a Tuesday.
    """
    tuesday = (NOW - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert await partitions.ensure_days(engine, "spans", {tuesday}) == {tuesday}
    await partitions.set_period(engine, "spans", "week")
    assert await partitions.ensure_days(engine, "spans", {tuesday + 2}) == {tuesday + 2}
    week = await ranges(engine, "spans")
    midnight = NOW.replace(hour=0)
    day = timedelta(days=1)
    assert week == [
        Range(midnight - day, midnight),
        Range(midnight, midnight + day),
        Range(midnight + day, midnight + 6 * day),
    ]

    await partitions.set_period(engine, "spans", "hour")
    assert await partitions.ensure_days(engine, "spans", {tuesday + 5, tuesday + 6}) == {tuesday + 5, tuesday + 6}
    await partitions.set_period(engine, "spans", None)
    days = set(range(tuesday - 1, tuesday + 9))
    assert await partitions.ensure_days(engine, "spans", days) == days

    found = await ranges(engine, "spans")
    assert set(week) < set(found)
    assert sum(r.until - r.since == timedelta(hours=1) for r in found) == 24
    assert all(a.until == b.since for a, b in itertools.pairwise(found))
    assert covered(found, days) == days


async def test_rows_find_their_partition_with_every_period(engine: AsyncEngine) -> None:
    """Old, new, leap days, and the hours that a summer time leaves out or has twice: each row is stored and found."""
    moments = ["2024-02-29 23:59:59", "2026-03-29 01:30:00", "2026-10-25 00:30:00", "2026-10-25 01:30:00"]
    moments += ["2026-03-08 07:30:00", "2026-11-01 05:30:00", "2026-11-01 06:30:00", "2028-12-31 23:59:59"]
    at = [timegm(datetime.fromisoformat(m).timetuple()) * 1_000_000 + 999_999 for m in moments]
    for n, period in enumerate(PERIODS):
        await partitions.set_period(engine, "log_records", period)
        (outcome,) = await PostgresSink(engine).write(
            [batch_of([log_row(time=t + n * 28 * 86_400_000_000) for t in at])]
        )
        assert not outcome.rejected
    async with engine.connect() as connection:
        stored = (await connection.execute(text("SELECT tableoid::regclass::text, time FROM log_records"))).all()

    by_name = {p.name: p for p in await partitions.list_partitions(engine)}
    assert len(stored) == len(at) * len(PERIODS)
    assert all(by_name[name].since <= time < by_name[name].until for name, time in stored)


async def test_a_detached_range_is_not_made_anew_with_another_period(engine: AsyncEngine) -> None:
    """A day that is detached and kept is in the way of the week around it: the rest of the week is made."""
    monday = 20_776  # 2026-11-19 is a Thursday; its week begins at 20_773
    await partitions.ensure_days(engine, "spans", {monday})
    name = partitions.partition_name("spans", monday)
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE spans DETACH PARTITION {name}"))
    await partitions.set_period(engine, "spans", "week")

    week = set(range(20_773, 20_780))
    assert await partitions.ensure_days(engine, "spans", week) == week - {monday}
