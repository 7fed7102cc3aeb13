"""The counts beside the rows say what count(*) says, whatever happened to the rows; readers may use either."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Table, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import migrate, rollups
from storage.columns import LOG_RECORDS, SPANS
from storage.count_models import LOG_COUNTS, SPAN_COUNTS
from storage.deletion import DELETE_ROWS_MAX, delete_rows
from storage.errors import StoreError
from storage.filters import LogQuery
from storage.keys import RequestKey
from storage.models import log_records, spans
from storage.reader import Reader
from storage.reading import rollups as reading
from storage.reading import stats
from storage.reading.rollups import Minutes, cells
from storage.rows import LogRow, SpanRow
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, span_row

DAY_US = 86_400_000_000
# A day and an hour that are long over: the windows of these tests begin here.
BEGIN_US = 20_780 * DAY_US
COMPONENTS = ("shop", "pay", "a" * 300, "ü/ß")
UNFIT = b'{"a":"\\u0000"}'

COUNTED = {
    "log_records": """
SELECT date_bin('1 minute', time, '1970-01-01 00:00:00+00'), component, severity_number, count(*), NULL::numeric
FROM log_records GROUP BY 1, 2, 3
""",
    "spans": """
SELECT date_bin('1 minute', time, '1970-01-01 00:00:00+00'), component, coalesce(status_code, 0), count(*),
       sum(duration_ns) FROM spans GROUP BY 1, 2, 3
""",
}


def seeded(seed: int) -> random.Random:
    """Return chance that can be repeated."""
    return random.Random(seed)  # noqa: S311


def some_rows(chance: random.Random, number: int) -> list[LogRow]:
    """Return log rows of a few components and severities over three days."""
    return [
        log_row(
            time=BEGIN_US + int(chance.random() * 3 * DAY_US),
            component=chance.choice(COMPONENTS),
            severity_number=chance.choice((0, 5, 9, 9, 9, 13, 17, 18, 24, -7, 99)),
            attributes=UNFIT if chance.random() < 0.02 else b"{}",
        )
        for _ in range(number)
    ]


def some_spans(chance: random.Random, number: int) -> list[SpanRow]:
    """Return spans over three days, some of absurd length."""
    return [
        span_row(
            time=BEGIN_US + int(chance.random() * 3 * DAY_US),
            component=chance.choice(COMPONENTS),
            status_code=chance.choice((None, None, 0, 1, 2)),
            duration_ns=chance.choice((0, 1, 5_000_000, 2**63 - 1)),
            attributes=UNFIT if chance.random() < 0.02 else b"{}",
        )
        for _ in range(number)
    ]


async def assert_exact(engine: AsyncEngine) -> None:
    """Assert that each minute's cell is what the rows say, in one snapshot."""
    for table, tables in ((log_records, LOG_COUNTS), (spans, SPAN_COUNTS)):
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            told = await cells(
                connection,
                tables,
                Minutes(0, 1 << 60),
                group_by=("component", tables.code.name),
                interval_s=60,
            )
            rows = (await connection.execute(text(COUNTED[table.name]))).all()
        counted = {(round(at.timestamp() * 1_000_000), (c, k)): (n, int(d or 0)) for at, c, k, n, d in rows}
        assert {key: (cell.count, cell.duration_ns) for key, cell in told.items()} == counted


async def remove(engine: AsyncEngine, table: Table, share: int) -> None:
    """Delete one row in ``share``, the one way there is."""
    async with engine.begin() as connection:
        await delete_rows(connection, table, [table.c.id % share == 0], DELETE_ROWS_MAX)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_counts_are_what_the_rows_say(engine: AsyncEngine, seed: int) -> None:
    """Stored, refused, sent twice, deleted, added up, dropped: after each step both say the same."""
    chance = seeded(seed)
    sink = PostgresSink(engine)
    for step in range(6):
        batches = [batch_of(some_rows(chance, 60)) for _ in range(3)]
        for n, batch in enumerate(batches):
            batch.key = RequestKey(bytes([step, n]) * 8, bytes([step, n]) * 8)
        await sink.write([batches[0], batches[1], batches[0]])
        await sink.write([batches[1], batches[2]])
        await sink.write([batch_of(some_spans(chance, 80), SPANS)])
        if chance.random() < 0.5:
            await rollups.compact(engine)
            await assert_exact(engine)
        await remove(engine, log_records, chance.choice((2, 3, 5)))
        await remove(engine, spans, 3)
        await assert_exact(engine)
    day = datetime.fromtimestamp(BEGIN_US / 1_000_000, UTC) + timedelta(days=1)
    for table in ("log_records", "spans"):
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP TABLE {table}_p{day:%Y%m%d}"))
            await rollups.forget(connection, table, day, day + timedelta(days=1))
    await assert_exact(engine)
    await rollups.compact(engine)
    await assert_exact(engine)


async def test_what_is_deleted_to_the_last_row_leaves_no_count(engine: AsyncEngine) -> None:
    """An hour without rows has no row in the counts, added up or not."""
    sink = PostgresSink(engine)
    await sink.write([batch_of(some_rows(seeded(1), 50))])
    await rollups.compact(engine)
    await remove(engine, log_records, 1)
    await rollups.compact(engine)

    async with engine.connect() as connection:
        tables = (LOG_COUNTS.counts, LOG_COUNTS.deltas)
        left = [await connection.scalar(select(func.count()).select_from(table)) for table in tables]
    assert left == [0, 0]


async def test_a_transaction_that_fails_counts_nothing(engine: AsyncEngine) -> None:
    """Rows and counts are of one transaction: neither is there after a rollback."""
    batch = batch_of(some_rows(seeded(1), 10))
    batch.abandoned = True

    with pytest.raises(StoreError):
        await PostgresSink(engine).write([batch])

    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM log_count_deltas")) == 0


async def test_parts_of_hours_are_not_forgotten(engine: AsyncEngine) -> None:
    """Counts are by the hour: what is dropped must be whole hours."""
    begin = datetime(2026, 11, 25, 0, 30, tzinfo=UTC)
    async with engine.begin() as connection:
        with pytest.raises(DBAPIError, match="whole hours"):
            await rollups.forget(connection, "log_records", begin, begin + timedelta(hours=1))


async def test_a_migration_counts_what_is_there(engine: AsyncEngine, database_url: str) -> None:
    """Downgraded and upgraded again, rows of before are counted."""
    chance = seeded(5)
    sink = PostgresSink(engine)
    await sink.write([batch_of(some_rows(chance, 200))])
    await sink.write([batch_of(some_spans(chance, 200), SPANS)])
    await engine.dispose()

    await migrate.downgrade(database_url, "0012")
    await migrate.upgrade(database_url)

    await assert_exact(engine)


def by_hand(rows: Sequence[LogRow], query: LogQuery, group_by: Sequence[str], interval_s: int | None) -> dict[Any, int]:
    """Count in Python; times of these rows are whole microseconds."""
    found: dict[Any, int] = {}
    for row in rows:
        at = row.time * 1000
        if query.component not in (None, row.component) or row.severity_number < (query.severity_min or -(2**31)):
            continue
        if not (query.since_ns or 0) <= at < (query.until_ns or 2**63):
            continue
        groups = {"component": row.component, "severity": stats._shown("severity", row.severity_number)}
        start = None if interval_s is None else at - at % (interval_s * 1_000_000_000)
        key = (start, tuple(groups[name] for name in group_by))
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize("compacted", [False, True])
async def test_answers_are_the_same_with_and_without_the_counts(
    engine: AsyncEngine, compacted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any window, filter, group and bin: from roll-ups and edges, from the rows, and by hand."""
    chance = seeded(11)
    rows = [row._replace(attributes=b"{}") for row in some_rows(chance, 600)]
    await PostgresSink(engine).write([batch_of(rows[:300])])
    if compacted:
        await rollups.compact(engine)
    await PostgresSink(engine).write([batch_of(rows[300:])])
    reader = Reader(engine)
    for _ in range(40):
        edges = sorted(int((BEGIN_US + chance.random() * 3 * DAY_US) * 1000) for _ in range(2))
        since, until = (edge - edge % chance.choice((1, 60_000_000_000, 3_600_000_000_000)) for edge in edges)
        query = LogQuery(
            component=chance.choice((None, *COMPONENTS)),
            severity_min=chance.choice((None, 9, 17)),
            since_ns=chance.choice((since, None)),
            until_ns=chance.choice((until, None)),
        )
        group_by = chance.choice(((), ("component",), ("severity", "component")))
        interval_s = chance.choice((None, 60, 300, 420, 3_600, 5_400, 86_400))
        wanted = by_hand(rows, query, group_by, interval_s)
        with_counts = await reader.log_counts(query, group_by, interval_s, 10_000)
        assert {(c.start_ns, tuple(c.group.values())): c.count for c in with_counts} == wanted, query
        async with engine.connect() as connection:
            assert await stats.count_logs(connection, query) in (None, sum(wanted.values()))
        with monkeypatch.context() as patch:
            patch.setattr(stats, "_minutes_of", lambda *_: None)
            assert await reader.log_counts(query, group_by, interval_s, 10_000) == with_counts


async def test_the_overview_is_exact_at_its_edges(engine: AsyncEngine) -> None:
    """A window that begins and ends within a minute counts what lies in it, and knows the last of each component."""
    at = BEGIN_US + 30_000_000
    rows = [log_row(time=at + n * 1_000_000, component="ab"[n % 2]) for n in range(300)]
    await PostgresSink(engine).write([batch_of(rows)])
    await PostgresSink(engine).write([batch_of([span_row(time=at + 1, component="a", status_code=2)], SPANS)])

    found = await Reader(engine).component_stats((at + 10_000_000) * 1000, (at + 110_000_000) * 1000)
    within_a_minute = await Reader(engine).component_stats(at * 1000, (at + 10_000_000) * 1000)

    assert [(s.component, s.log_count, s.last_seen_ns // 1000 - at) for s in found] == [
        ("a", 50, 108_000_000),
        ("b", 50, 109_000_000),
    ]
    assert [(s.component, s.log_count, s.span_count, s.error_span_count) for s in within_a_minute] == [
        ("a", 5, 1, 1),
        ("b", 5, 0, 0),
    ]


async def test_past_its_top_the_oldest_bins_are_left_out(engine: AsyncEngine) -> None:
    """What happened last is what is asked for: a chart that does not fit loses its beginning."""
    await PostgresSink(engine).write([batch_of([log_row(time=BEGIN_US + n * 60_000_000) for n in range(10)])])
    reader = Reader(engine)
    for query in (LogQuery(), LogQuery(text="hello")):
        newest = await reader.log_counts(query, (), 60, top=3)

        assert [c.start_ns for c in newest if c.start_ns] == [(BEGIN_US + n * 60_000_000) * 1000 for n in (7, 8, 9)]


def test_whole_minutes_and_edges_make_up_the_window() -> None:
    """No nanosecond twice, none left out."""
    chance = seeded(3)
    for _ in range(500):
        since = chance.randrange(10**12)
        until = since + chance.randrange(1, 10**12)
        minutes = Minutes.within(since, until)
        parts = [(since, until)]
        if minutes is not None:
            whole = (minutes.since * reading.MINUTE_NS, minutes.until * reading.MINUTE_NS)
            parts = sorted([whole, *minutes.edges(since, until)])
        assert parts[0][0] == since
        assert parts[-1][1] == until
        assert all(left[1] == right[0] for left, right in pairwise(parts))


def test_questions_the_counts_cannot_tell_are_for_the_rows() -> None:
    """Text, attributes, ids, event names, seconds: each needs the rows."""
    plain = LogQuery(since_ns=0, until_ns=10**18)
    assert stats._minutes_of(plain, ("component", "severity"), 120) is not None
    for other in ({"text": "x"}, {"attributes": {"a": 1}}, {"trace_id": "0" * 32}, {"span_id": "0" * 16}):
        assert stats._minutes_of(replace(plain, **other), (), None) is None
    assert stats._minutes_of(plain, ("event_name",), None) is None
    assert stats._minutes_of(plain, (), 90) is None
    assert {c.name for c in select(LOG_COUNTS.counts).selected_columns} >= {"hour", "total", "minutes"}
    assert LOG_RECORDS.name in rollups.COUNTED
