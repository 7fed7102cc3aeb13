"""What a question costs beside its statements: round trips to PostgreSQL, counted; a session that is gone is seen."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.columns import SPANS
from storage.config import StorageConfig
from storage.engine import read_engine
from storage.filters import LogQuery
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us, span_row

TRACE = b"\x07" * 16
# psycopg prepares a statement the fifth time.
WARM = 8
HOUR_NS = 3_600_000_000_000


@pytest.fixture
async def reader(engine: AsyncEngine, database_url: str) -> AsyncIterator[Reader]:
    """Yield a reader of a store with 200 records of one component and a trace."""
    now = now_us()
    logs = [log_row(time=now - i * 1_000_000, component="shop", trace_id=TRACE) for i in range(200)]
    await PostgresSink(engine).write([batch_of(logs), batch_of([span_row(time=now, trace_id=TRACE)], SPANS)])
    reading = read_engine(StorageConfig(database_url))
    yield Reader(reading)
    await reading.dispose()


async def round_trips(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], Awaitable[Any]]) -> int:
    """Return how often a warm question waits for PostgreSQL."""
    waits = 0
    wait = psycopg.AsyncConnection.wait

    def watched(steps: Any) -> Any:
        """Go on as ``steps`` does, and count if it waits at all."""
        nonlocal waits
        ready, has_waited = None, False
        while True:
            try:
                wanted = steps.send(ready)
            except StopIteration as end:
                return end.value
            waits += not has_waited
            has_waited = True
            ready = yield wanted

    async def counted(self: Any, steps: Any, *arguments: Any, **more: Any) -> Any:
        return await wait(self, watched(steps), *arguments, **more)

    for _ in range(WARM):
        await ask()
    with monkeypatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "wait", counted)
        await ask()
    return waits


async def test_small_questions_take_few_round_trips(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each: one to begin and to look for packed blocks, one a statement, one to end."""
    since = (now_us() - 600_000_000) * 1000
    questions: dict[str, tuple[int, Callable[[], Awaitable[Any]]]] = {
        "page": (4, lambda: reader.find_logs(LogQuery(component="shop", since_ns=since))),
        "page that is whole": (3, lambda: reader.find_logs(LogQuery(component="shop", since_ns=since, limit=500))),
        "trace": (4, lambda: reader.trace_outline(TRACE.hex())),
        "components": (6, lambda: reader.component_stats(since, now_us() * 1000)),
        "histogram": (3, lambda: reader.log_counts(LogQuery(since_ns=since), (), 60)),
    }
    for name, (most, ask) in questions.items():
        assert await round_trips(monkeypatch, ask) <= most, name


async def test_statements_stay_prepared(reader: Reader, engine: AsyncEngine) -> None:
    """A question that was asked often is not planned anew: its session has it prepared."""
    prepared = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT spans.id%'")
    for _ in range(WARM):
        await reader.trace_outline(TRACE.hex())

    async with reader._connection() as connection:
        assert await connection.scalar(prepared) == 1
    assert engine


async def test_searches_are_planned_for_their_values(reader: Reader) -> None:
    """However often an attribute was asked for: a plan for any value would not know which one is rare."""
    plans = text(
        "SELECT sum(custom_plans), sum(generic_plans) FROM pg_prepared_statements "
        "WHERE statement LIKE '%attributes @>%'"
    )
    for n in range(2 * WARM):
        await reader.find_logs(LogQuery(attributes={"user.id": n}))

    async with reader._connection() as connection:
        custom, generic = (await connection.execute(plans)).one()
    assert custom >= WARM
    assert generic == 0


async def test_sessions_that_are_gone_are_replaced(reader: Reader, engine: AsyncEngine) -> None:
    """PostgreSQL ended every session of the pool while they were idle: the next question is answered."""
    gone = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'otel-ingest' AND pid <> pg_backend_pid()"
    )
    async with reader._connection() as one, reader._connection() as other:
        await one.scalar(text("SELECT 1"))
        await other.scalar(text("SELECT 1"))
    async with engine.begin() as connection:
        assert len((await connection.execute(gone)).all()) >= 2

    page = await reader.find_logs(LogQuery(limit=1))

    assert len(page.items) == 1
