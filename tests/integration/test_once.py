"""Each request once: by content and by name, in one call, over periods, after rejections, aborts and lost answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import digests, spooled, transactions, writing
from storage import sink as sink_module
from storage.api import Outcome
from storage.batch import Batch
from storage.config import StorageConfig, Windows
from storage.engine import write_engine
from storage.errors import OutcomeUnknown
from storage.keys import request_key
from storage.round_trip import Statement, driver_of
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row


@pytest.fixture
async def other_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield the write engine of another receiver on the same database."""
    engine = write_engine(StorageConfig(database_url))
    yield engine
    await engine.dispose()


def request(body: bytes = b"body", batch_id: str = "", rows: int = 2) -> Batch:
    """Return a batch with a key."""
    batch = batch_of([log_row() for _ in range(rows)])
    batch.key = request_key("logs", body, batch_id)
    return batch


async def count(engine: AsyncEngine, table: str = "log_records") -> int:
    """Return the rows of a table."""
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())  # noqa: S608


async def test_the_same_request_again_is_not_stored(engine: AsyncEngine, other_engine: AsyncEngine) -> None:
    """Through another receiver too; its neighbour in the same call is."""
    assert await PostgresSink(engine).write([request()]) == [Outcome()]

    outcomes = await PostgresSink(other_engine).write([request(), request(b"other")])

    assert outcomes[0].duplicate_age_s is not None
    assert 0 <= outcomes[0].duplicate_age_s < 60
    assert outcomes[1] == Outcome()
    assert await count(engine) == 4


async def test_twice_in_one_call_is_stored_once(engine: AsyncEngine) -> None:
    """Group commit finds both in the same transaction."""
    outcomes = await PostgresSink(engine).write([request(), request(), request(b"other"), request()])

    assert [o.duplicate_age_s for o in outcomes] == [None, 0.0, None, 0.0]
    assert await count(engine) == 4


async def test_the_same_bytes_of_another_signal_are_another_request(engine: AsyncEngine) -> None:
    """The key holds the signal."""
    logs, traces = request_key("logs", b"body"), request_key("traces", b"body")
    assert logs != traces

    first, second = request(), request()
    second.key = traces
    assert await PostgresSink(engine).write([first, second]) == [Outcome(), Outcome()]


async def test_a_named_request_is_known_by_its_name_and_checked_by_its_content(engine: AsyncEngine) -> None:
    """Same name and body: once. Other name: stored. Same name, other body: rejected with the reason, never lost."""
    sink = PostgresSink(engine)
    await sink.write([request(batch_id="a")])

    same, renamed, reused = await sink.write(
        [request(batch_id="a"), request(batch_id="b"), request(b"other", batch_id="a")]
    )

    assert same.duplicate_age_s is not None
    assert renamed == Outcome()
    assert [row.index for row in reused.rejected] == [0, 1]
    assert "x-otel-ingest-batch-id was used" in reused.rejected[0].reason
    assert [r.index for r in (await sink.write([request(b"other", batch_id="a")]))[0].rejected] == [0, 1]
    assert await count(engine) == 4


async def test_the_repeat_of_a_partly_stored_request_says_so(engine: AsyncEngine) -> None:
    """One row of three was refused: the repeat is told that one was."""
    sink = PostgresSink(engine)

    def broken() -> Batch:
        batch = batch_of([log_row(), log_row(attributes=b'{"broken'), log_row()])
        batch.key = request_key("logs", b"broken")
        return batch

    (first,) = await sink.write([broken()])
    (second,) = await sink.write([broken()])

    assert [row.index for row in first.rejected] == [1]
    assert (second.rejected, second.rejected_before) == ((), 1)
    assert second.duplicate_age_s is not None
    assert await count(engine) == 2


async def test_a_key_past_its_window_is_free_again(engine: AsyncEngine) -> None:
    """Moved back past the window, its row counts for nothing, though its table is not emptied yet."""
    sink = PostgresSink(engine)
    await sink.write([request()])
    async with engine.begin() as connection:
        for n in range(3):
            await connection.execute(text(f"UPDATE request_digests_{n} SET time = now() - interval '15 min'"))  # noqa: S608

    assert await sink.write([request()]) == [Outcome()]
    assert (await sink.write([request()]))[0].duplicate_age_s is not None
    assert await count(engine) == 4


async def test_an_aborted_attempt_claims_nothing(engine: AsyncEngine, other_engine: AsyncEngine) -> None:
    """Ours waits for the other's transaction and stores when that is rolled back."""
    other, ours = PostgresSink(other_engine), PostgresSink(engine)
    async with other_engine.connect() as connection:
        await other._digests.claim(connection, [request_key("logs", b"body")])
        writing = asyncio.create_task(ours.write([request()]))
        async with engine.connect() as watching:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
            while not (await watching.execute(waiting)).scalar_one():  # noqa: ASYNC110 - PostgreSQL has no event for it
                await asyncio.sleep(0.01)
        await connection.rollback()

    assert await asyncio.wait_for(writing, 10) == [Outcome()]
    assert await count(engine) == 2


@pytest.mark.parametrize("found", ["committed", "aborted"])
async def test_a_commit_without_an_answer(engine: AsyncEngine, breaking_commit: Callable[..., Any], found: str) -> None:
    """The connection breaks after COMMIT arrived, or before: stored once, and no duplicate to its sender."""
    sink = PostgresSink(engine)
    batch = request()

    with breaking_commit(arrives=found == "committed"), pytest.raises(OutcomeUnknown) as caught:
        await sink.write([batch])

    assert await transactions.outcome_of(engine, caught.value.transaction) == found
    assert await sink.write([batch]) == [Outcome()]
    assert (await sink.write([request()]))[0].duplicate_age_s is not None
    assert await count(engine) == 2


@pytest.fixture
def breaking_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what lets connections break within a with block as COMMIT is sent, before or after it ``arrives``."""
    trip = writing.round_trip

    async def cut_off(connection: AsyncConnection, *statements: Statement, arrives: bool) -> list[Any]:
        if (b"COMMIT", ()) not in statements:
            return await trip(connection, *statements)
        if arrives:
            await trip(connection, *statements)
        driver_of(connection).pgconn.finish()
        return await trip(connection, *statements)

    @contextlib.contextmanager
    def breaking(*, arrives: bool) -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(writing, "round_trip", partial(cut_off, arrives=arrives))
            yield

    return breaking


@pytest.mark.parametrize(
    "reference", ["", "nonsense", "1/00000001/7/5", "{place}/99999999999"], ids=["none", "odd", "elsewhere", "future"]
)
async def test_transactions_that_are_not_known_here_are_unknown(engine: AsyncEngine, reference: str) -> None:
    """Of another cluster, or not begun: never an error, never a guess."""
    async with engine.connect() as connection:
        place = (await transactions.reference(connection, 0)).rpartition("/")[0]

    assert await transactions.outcome_of(engine, reference.format(place=place)) == "unknown"


async def test_two_receivers_over_many_periods_store_each_request_once(
    engine: AsyncEngine, other_engine: AsyncEngine
) -> None:
    """Periods of 1 s: the same request to both at the same moment, at any place of a period."""
    windows = Windows(unnamed_s=0.9, unnamed_period_s=1.0)
    sinks = PostgresSink(engine, windows), PostgresSink(other_engine, windows)
    for n in range(300):
        outcomes = await asyncio.gather(*(sink.write([request(str(n).encode(), rows=1)]) for sink in sinks))
        assert sum(o.duplicate_age_s is not None for (o,) in outcomes) == 1, n

    assert await count(engine) == 300


async def test_a_transaction_that_lasts_longer_than_periods_still_excludes_the_other(
    engine: AsyncEngine, other_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One claims at the end of a period and commits well into the next; the other began in that: it waits."""
    windows = Windows(unnamed_s=0.5, unnamed_period_s=0.5)
    sinks = PostgresSink(engine, windows), PostgresSink(other_engine, windows)
    copy = sink_module._copy

    async def copy_slowly(connection: AsyncConnection, batches: list[Batch], places: list[tuple[int, int]]) -> None:
        await asyncio.sleep(0.3)
        await copy(connection, batches, places)

    monkeypatch.setattr(sink_module, "_copy", copy_slowly)

    async def later() -> list[Outcome]:
        await asyncio.sleep(0.2)
        return await sinks[1].write([request(str(n).encode(), rows=1)])

    for n in range(8):
        outcomes = await asyncio.gather(sinks[0].write([request(str(n).encode(), rows=1)]), later())
        assert sum(o.duplicate_age_s is not None for (o,) in outcomes) == 1

    assert await count(engine) == 8


async def test_a_request_of_a_spool_is_stored_once_whenever(engine: AsyncEngine) -> None:
    """Known by its place when its key is long forgotten; forgotten with its segment. Its key counts as well."""
    sink = PostgresSink(engine)
    segment = b"0123456789abcdef"

    def replayed(offset: int, body: bytes = b"body") -> Batch:
        batch = request(body)
        batch.place = segment, offset
        return batch

    assert await sink.write([replayed(0), replayed(100, b"other")]) == [Outcome(), Outcome()]
    async with engine.begin() as connection:
        for n in range(3):
            await connection.execute(text(f"TRUNCATE request_digests_{n}"))
    first, second, third = await sink.write([replayed(100, b"other"), replayed(200), replayed(300)])

    assert first.duplicate_age_s is not None
    assert (second, third) == (Outcome(), Outcome(duplicate_age_s=0.0))
    assert await count(engine) == 6
    assert await count(engine, "spooled_requests") == 4

    await spooled.forget(engine, segment)
    assert await count(engine, "spooled_requests") == 0
    assert (await sink.write([request()]))[0].duplicate_age_s is not None


async def test_only_what_is_past_its_window_is_emptied(engine: AsyncEngine) -> None:
    """Periods of 50 ms: each table is out of use soon, and emptied; those of a long period stay, whatever else goes."""
    passing = Windows(unnamed_s=0.01, unnamed_period_s=0.05)
    for n in range(4):
        await PostgresSink(engine, passing).write([request(str(n).encode()), request(batch_id=str(n))])

    async with asyncio.timeout(20):
        while sum([await count(engine, f"request_digests_{n}") for n in range(3)]):
            await digests.empty_unused(engine, passing)

    assert sum([await count(engine, f"batch_id_digests_{n}") for n in range(3)]) >= 4
    assert (await PostgresSink(engine).write([request(batch_id="3")]))[0].duplicate_age_s is not None


async def test_emptying_goes_around_what_is_in_use(engine: AsyncEngine, other_engine: AsyncEngine) -> None:
    """A transaction of a period long past still holds its table: emptying gives up and tries again later."""
    passing = Windows(unnamed_s=0.01, unnamed_period_s=0.05)
    sink = PostgresSink(other_engine, passing)
    await sink.write([request()])
    async with other_engine.connect() as connection:
        for n in range(3):
            await connection.execute(text(f"LOCK TABLE request_digests_{n} IN ROW EXCLUSIVE MODE"))
        await digests.empty_unused(engine, passing)
        await digests.empty_unused(engine, passing)

    assert sum([await count(engine, f"request_digests_{n}") for n in range(3)]) >= 1


async def test_emptying_all_the_time_loses_no_key(engine: AsyncEngine, other_engine: AsyncEngine) -> None:
    """Two receivers store each request once while tables of short periods are emptied without a pause."""
    windows = Windows(unnamed_s=0.9, unnamed_period_s=1.0)
    sinks = PostgresSink(engine, windows), PostgresSink(other_engine, windows)
    done = asyncio.Event()

    async def empty() -> None:
        while not done.is_set():
            await digests.empty_unused(engine, windows)

    emptying = asyncio.create_task(empty())
    for n in range(200):
        outcomes = await asyncio.gather(*(sink.write([request(str(n).encode(), rows=1)]) for sink in sinks))
        assert sum(o.duplicate_age_s is not None for (o,) in outcomes) == 1, n
    done.set()
    await emptying

    assert await count(engine) == 200
