"""What was served, by whom, called from where: beside the rows and of the rows, the same whatever happened to them."""

import math
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import migrate, rollups
from storage.columns import SPANS
from storage.counts import ROOT_KINDS, SERVING_KINDS
from storage.deletion import DELETE_ROWS_MAX, delete_rows
from storage.latency import BUCKETS, bucket_of, middle_ns, quantiles
from storage.models import spans
from storage.reader import Reader
from storage.rows import SpanRow
from storage.sink import PostgresSink
from tests.factories import batch_of, now_us, span_row

HOUR_US = 3_600_000_000
BEGIN_US = 20_780 * 24 * HOUR_US
COMPONENTS = ("shop", "pay", "a" * 300, "ü/ß")
UNFIT = b'{"a":"\\u0000"}'
DURATIONS = (0, 1, 31, 32, 33, 999, 5_000_000, 5_100_000, 1 << 53, (1 << 54) - 1, (1 << 63) - 1)
ROWS = text(
    "SELECT time, component, name, kind, status_code, duration_ns, trace_id, span_id, parent_span_id FROM spans"
)


def some_spans(chance: random.Random, number: int, unfit: float = 0.02) -> list[SpanRow]:
    """Return spans of small traces over six hours, some called across components, some of absurd length."""
    made = []
    for _ in range(number):
        trace = chance.randrange(1, 30)
        made.append(
            span_row(
                time=BEGIN_US + trace * 700_000_000 + chance.randrange(HOUR_US // 3),
                component=chance.choice(COMPONENTS), name=chance.choice(("GET /", "pay", "", "ü" * 300, "POST")),
                kind=chance.choice((0, 1, 2, 3, 4, 5, 9)), status_code=chance.choice((None, 0, 1, 2)),
                duration_ns=chance.choice(DURATIONS), trace_id=trace.to_bytes(16, "big"),
                span_id=chance.randrange(1, 9), parent_span_id=chance.choice((None, *range(1, 9))),
                attributes=UNFIT if chance.random() < unfit else b"{}",
            )
        )  # fmt: skip
    return made


def us(moment: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return round(moment.timestamp()) * 1_000_000 + moment.microsecond


def served_by_hand(rows: Any, since_us: int, until_us: int) -> dict[str, tuple[int, int, list[int]]]:
    """Return requests, errors and durations of each component."""
    found: dict[str, tuple[int, int, list[int]]] = {}
    for row in rows:
        if not since_us <= us(row.time) < until_us:
            continue
        if row.kind in SERVING_KINDS or (row.parent_span_id is None and row.kind in ROOT_KINDS):
            requests, errors, took = found.get(row.component, (0, 0, []))
            found[row.component] = (requests + 1, errors + (row.status_code == 2), [*took, row.duration_ns])
    return found


def calls_by_hand(rows: Any, since_us: int, until_us: int) -> Counter[tuple[str, str]]:
    """Return how often a component called another."""
    found: Counter[tuple[str, str]] = Counter()
    by_id: dict[Any, list[Any]] = {}
    for row in rows:
        by_id.setdefault((row.trace_id, row.span_id), []).append(row)
    for child in rows:
        inside = since_us <= us(child.time) < until_us
        for parent in by_id.get((child.trace_id, child.parent_span_id), ()) if inside else ():
            before = us(child.time) - us(parent.time)
            if parent.component != child.component and -60_000_000 <= before <= HOUR_US:
                found[parent.component, child.component] += 1
    return found


async def assert_told(engine: AsyncEngine, chance: random.Random, rows: Any = None) -> None:
    """Assert that the answers are those of the rows, in whole and cut hours and minutes."""
    if rows is None:
        async with engine.connect() as connection:
            rows = (await connection.execute(ROWS)).all()
    reader = Reader(engine)
    for width in (1, 60_000_000, 300_000_000, HOUR_US):
        since, until = sorted((BEGIN_US + chance.randrange(8 * HOUR_US)) // width * width for _ in range(2))
        told = await reader.service_numbers(since * 1000, until * 1000)
        wanted = served_by_hand(rows, since, until)
        assert {n.component: (n.requests, n.errors) for n in told} == {c: each[:2] for c, each in wanted.items()}
        for numbers in told:
            took = sorted(wanted[numbers.component][2])
            for share, said in ((0.5, numbers.p50_ns), (0.95, numbers.p95_ns), (0.99, numbers.p99_ns)):
                assert math.isclose(said, took[math.floor(share * (len(took) - 1))], rel_tol=1 / 32)
        called = await reader.calls(since * 1000, until * 1000)
        assert {(c.parent, c.child): c.count for c in called} == calls_by_hand(rows, since, until)
    for component in COMPONENTS:
        names = {(row.name[:200], str(row.kind)) for row in rows if row.component == component}
        assert {(o.name, o.kind) for o in await reader.operations(component)} == {
            (name, {"0": "unspecified", "1": "internal", "2": "server", "3": "client", "4": "producer",
                    "5": "consumer"}.get(kind, kind)) for name, kind in names
        }  # fmt: skip


async def counted_calls(engine: AsyncEngine) -> int:
    """Return how many slots of five minutes have their calls counted."""
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM span_calls WHERE parent IS NULL")) or 0)


@pytest.mark.parametrize("seed", [1, 2])
async def test_answers_are_those_of_the_rows(engine: AsyncEngine, seed: int) -> None:
    """Stored, refused, deleted, added up, dropped: the answers are what the spans say."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    sink = PostgresSink(engine)
    for _ in range(4):
        batches = [batch_of(some_spans(chance, number), SPANS) for number in (80, 40)]
        await sink.write(batches)
        await assert_told(engine, chance)
        if chance.random() < 0.7:
            await rollups.compact(engine)
            await assert_told(engine, chance)
        async with engine.begin() as connection:
            await delete_rows(connection, spans, [spans.c.id % chance.choice((3, 5)) == 0], DELETE_ROWS_MAX)
        await assert_told(engine, chance)
    await rollups.compact(engine)
    assert await counted_calls(engine) > 0
    await assert_told(engine, chance)
    day = datetime.fromtimestamp(BEGIN_US / 1_000_000, UTC)
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP TABLE spans_p{day:%Y%m%d}"))
        await rollups.forget(connection, "spans", day, day + timedelta(days=1))
    await assert_told(engine, chance)
    async with engine.connect() as connection:
        for table in ("span_names", "span_times", "span_calls", "span_detail_deltas"):
            assert await connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0  # noqa: S608


async def test_a_revision_counts_what_is_there_in_the_background(engine: AsyncEngine, database_url: str) -> None:
    """Spans of before are told of from their rows until they are counted, and after; nobody has to wait."""
    chance = random.Random(5)  # noqa: S311 - no secret
    await PostgresSink(engine).write([batch_of(some_spans(chance, 300, 0), SPANS)])
    await engine.dispose()
    await migrate.downgrade(database_url, "0034")
    await migrate.upgrade(database_url)

    await assert_told(engine, chance)
    await PostgresSink(engine).write([batch_of(some_spans(chance, 50, 0), SPANS)])
    await assert_told(engine, chance)
    await rollups.compact(engine)
    async with engine.connect() as connection:
        left = text("SELECT count(*) FROM otel_ingest_uncounted_hours('-infinity', 'infinity')")
        assert await connection.scalar(left) == 0
    assert await counted_calls(engine) > 0
    await assert_told(engine, chance)


async def test_too_many_names_are_one(engine: AsyncEngine) -> None:
    """A service that puts ids into names has 200 of them an hour; what it served is told in full, and can go."""
    made = [span_row(time=BEGIN_US + n, name=f"GET /{n}", kind=2, component="shop") for n in range(700)]
    sink, reader = PostgresSink(engine), Reader(engine)
    for first in range(0, 700, 350):
        await sink.write([batch_of(made[first : first + 350], SPANS)])
        await rollups.compact(engine)
    window = (BEGIN_US * 1000, (BEGIN_US + HOUR_US) * 1000)

    assert len(await reader.operations("shop")) == 200
    assert [n.requests for n in await reader.service_numbers(*window)] == [700]
    async with engine.begin() as connection:
        await delete_rows(connection, spans, [], DELETE_ROWS_MAX)
    await rollups.compact(engine)
    assert await reader.operations("shop") == []
    assert await reader.service_numbers(*window) == []


@given(st.integers(0, (1 << 63) - 1) | st.integers(0, 62).map(lambda n: (1 << n) - 1) | st.sampled_from(DURATIONS))
def test_a_bucket_is_near_all_that_is_in_it(duration: int) -> None:
    """Buckets rise with durations, and their middle is off by 1/32 at most."""
    bucket = bucket_of(duration)
    assert 0 <= bucket < BUCKETS
    assert bucket_of(max(duration - 1, 0)) <= bucket
    assert math.isclose(middle_ns(bucket), duration, rel_tol=1 / 32)
    assert quantiles({bucket: 3}, (0.5, 0.99)) == [middle_ns(bucket)] * 2


async def test_postgresql_has_the_same_buckets(engine: AsyncEngine) -> None:
    """The function in SQL says what the one in Python says, at each edge and in between."""
    chance = random.Random(3)  # noqa: S311 - no secret
    durations = [d for n in range(63) for d in ((1 << n) - 1, 1 << n, (1 << n) + chance.randrange(1 << n))]
    durations = [*range(200), *(min(d, (1 << 63) - 1) for d in durations), *DURATIONS]
    async with engine.connect() as connection:
        each = "unnest(cast(:durations AS bigint[])) WITH ORDINALITY AS u (d, n)"
        asked = text(f"SELECT otel_ingest_bucket(d) FROM {each} ORDER BY n")  # noqa: S608
        told = (await connection.execute(asked, {"durations": durations})).scalars().all()
    assert told == [bucket_of(d) for d in durations]


async def test_the_calls_of_a_large_trace_are_not_looked_up_one_by_one(engine: AsyncEngine) -> None:
    """Twenty thousand spans of one trace: its pairs are four hundred million, and statements have a time limit."""
    now = now_us()
    small = [
        span_row(time=now - 3 * HOUR_US + n, trace_id=(n // 2).to_bytes(16, "big"), span_id=n + 1)
        for n in range(20_000)
    ]
    await PostgresSink(engine).write([batch_of(small, SPANS)])
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE spans"))  # what PostgreSQL knows of traces is that they are small
    made = [
        span_row(
            time=now - 60_000_000 + n, component=COMPONENTS[n % 2], trace_id=b"t" * 16, span_id=n + 1, parent_span_id=n
        )
        for n in range(20_000)
    ]
    await PostgresSink(engine).write([batch_of(made, SPANS)])

    called = await Reader(engine).calls((now - HOUR_US) * 1000, (now + HOUR_US) * 1000)

    assert sum(c.count for c in called) == 19_999
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = '10s'"))
        view = await connection.execute(text("SELECT sum(calls) FROM otel_service_edges"))
        assert view.scalar_one() == 19_999
        await connection.execute(text("SELECT otel_ingest_count_slot(date_bin('5 min', now(), '2000-01-01+00'))"))
