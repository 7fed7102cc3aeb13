"""What a write costs PostgreSQL, and what it must not take for the same: found as faults in other stores."""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import rollups
from storage.api import Outcome
from storage.columns import LOG_RECORDS, SPANS, TelemetryTable
from storage.config import StorageConfig, Windows
from storage.engine import write_engine, writers_of
from storage.errors import RetryableStoreError
from storage.keys import request_key
from storage.round_trip import driver_of
from storage.rows import Row
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us, span_row

# BEGIN and the claim of keys, COPY and its acceptance, its end, the counts and COMMIT.
ROUND_TRIPS = 4
_END_OTHERS = text(
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'otel-ingest' AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def one_writer(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield a write engine whose writer has one session."""
    engine = write_engine(StorageConfig(database_url, writers=1))
    yield engine
    await engine.dispose()


async def wire(engine: AsyncEngine, sink: PostgresSink, row: Row, table: TelemetryTable, to: Path) -> list[str]:
    """Write requests; return the last one's messages, ``F …`` ours and ``B …`` PostgreSQL's, as libpq has them."""
    for n in range(4):
        batch = batch_of([row] * 500, table)
        batch.key = request_key(table.name, n.to_bytes())
        if n == 3:
            async with writers_of(engine).connect() as connection:
                driver = driver_of(connection)
            with to.open("wb") as file:
                driver.pgconn.trace(file.fileno())
                driver.pgconn.set_trace_flags(psycopg.pq.Trace.SUPPRESS_TIMESTAMPS)
                assert await sink.write([batch]) == [Outcome()]
                driver.pgconn.untrace()
        else:
            assert await sink.write([batch]) == [Outcome()]
    trace = await asyncio.to_thread(to.read_text)
    return [f"{side} {kind}" for side, kind in re.findall(r"^([FB])\t\d+\t(\w+)", trace, re.MULTILINE)]


@pytest.mark.parametrize(
    ("table", "row"), [(LOG_RECORDS, log_row(time=now_us())), (SPANS, span_row(time=now_us()))], ids=["logs", "spans"]
)
@pytest.mark.parametrize("window_s", [0.001, 3600.0], ids=["one table of keys", "two tables of keys"])
async def test_a_transaction_takes_four_round_trips(
    one_writer: AsyncEngine, table: TelemetryTable, row: Row, window_s: float, tmp_path: Path
) -> None:
    """Counted at the wire, by libpq: how often we wait for an answer, and no message that could be spared."""
    sink = PostgresSink(one_writer, Windows(unnamed_s=window_s))
    messages = await wire(one_writer, sink, row, table, tmp_path / "trace")

    sides = [message[0] for message in messages]
    assert sides[0] == "F"
    assert sum(pair == ("F", "B") for pair in pairwise(sides)) <= ROUND_TRIPS
    assert messages.count("F Sync") == 2
    assert "F Parse" not in messages
    assert messages.count("B CopyInResponse") == 1


async def test_sessions_that_ended_while_they_were_idle_cost_nothing(engine: AsyncEngine) -> None:
    """Nobody asks them before whether they are alive: transactions begin on others, and their senders see nothing."""
    sink = PostgresSink(engine)
    for n in range(0, 6, 2):
        batches = [batch_of([log_row()]) for _ in range(2)]
        for i, batch in enumerate(batches):
            batch.key = request_key("logs", (n + i).to_bytes())
            batch.place = (b"s" * 16, n + i) if n == 4 else None
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*(sink.write([batch]) for batch in batches))
        assert outcomes == [[Outcome()], [Outcome()]]
        async with engine.begin() as connection:
            ended = await connection.execute(_END_OTHERS)
            assert len(ended.all()) >= 2

    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM log_records")) == 6


@pytest.mark.parametrize("action", ["SELECT 1 / 0", "SELECT 'x'::xid8"])
async def test_counts_that_fail_are_no_unknown_outcome(
    one_writer: AsyncEngine, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """They go with COMMIT, and their own error says that nothing is committed."""
    sink = PostgresSink(one_writer)
    batch = batch_of([log_row()])
    batch.key = request_key("logs", b"body")
    with monkeypatch.context() as patched:
        patched.setattr(rollups, "storing", lambda *_: (action.encode(), ()))
        with pytest.raises(RetryableStoreError) as caught:
            await sink.write([batch])

    assert type(caught.value) is RetryableStoreError
    assert await sink.write([batch]) == [Outcome()]
    async with one_writer.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM log_records")) == 1


@pytest.mark.parametrize(("table", "row"), [(LOG_RECORDS, log_row()), (SPANS, span_row())])
async def test_statements_do_not_grow_with_the_rows(engine: AsyncEngine, table: TelemetryTable, row: Row) -> None:
    """A request of 5,000 records of as many traces takes as many statements as one of a single record."""
    sink = PostgresSink(engine)
    await sink.write([batch_of([row], table)])
    counts = []
    for size in (1, 5_000):
        statements: list[str] = []

        def note(*arguments: object, into: list[str] = statements) -> None:
            into.append(str(arguments[2]))

        event.listen(writers_of(engine).sync_engine, "before_cursor_execute", note)
        rows = [row._replace(trace_id=n.to_bytes(16), span_id=n) for n in range(1, size + 1)]
        await sink.write([batch_of(rows, table)])
        event.remove(writers_of(engine).sync_engine, "before_cursor_execute", note)
        counts.append(len(statements))

    assert counts[0] == counts[1]


async def test_spans_of_the_same_id_are_kept(engine: AsyncEngine) -> None:
    """Ids are the sender's: twice the same in two traces, or in one, they are as many spans."""
    spans = [span_row(trace_id=trace, span_id=7, name=name) for trace in (b"a" * 16, b"b" * 16) for name in ("x", "y")]

    await PostgresSink(engine).write([batch_of(spans, SPANS)])

    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT count(*) FROM spans WHERE span_id = 7"))
        assert found.scalar_one() == 4
