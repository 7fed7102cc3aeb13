"""Making partitions on real PostgreSQL: at the same time, beside readers, and looked at."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import partitions
from storage.config import StorageConfig
from storage.engine import write_engine

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
        await partitions._create(connection, "spans", 20_000)
        await connection.execute(text("SET TIME ZONE 'UTC'"))
        bounds = await connection.execute(
            text("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'spans_p20241004'")
        )

        assert bounds.scalar_one() == "FOR VALUES FROM ('2024-10-04 00:00:00+00') TO ('2024-10-05 00:00:00+00')"
