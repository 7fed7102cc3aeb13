"""What PostgreSQL answers when it is in trouble: nothing is stored, the next attempt stores all of it, once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import AsyncConnection
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import rollups
from storage.api import Outcome
from storage.batch import Batch
from storage.config import StorageConfig
from storage.dberrors import translate
from storage.engine import write_engine
from storage.errors import PermanentStoreError, RetryableStoreError
from storage.keys import request_key
from storage.sink import PostgresSink
from tests.factories import RESOURCE, batch_of, log_row

# Classes 40 rollback, 53 resources, 55 locks, 57 intervention, 58 system, 25006 read-only, XX internal.
PASSING = ["40001", "40P01", "53000", "53100", "53200", "53300", "55P03", "57014", "57P01", "58030", "25006", "XX000"]


def request(body: bytes = b"body", rows: int = 50) -> Batch:
    """Return a batch with a key."""
    batch = batch_of([log_row() for _ in range(rows)])
    batch.key = request_key("logs", body)
    return batch


async def count(engine: AsyncEngine) -> int:
    """Return the stored log records."""
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM log_records"))).scalar_one())


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield a connection of somebody else."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def sink_of(url: str, **config: float) -> AsyncIterator[PostgresSink]:
    """Yield a sink with an engine of its own."""
    engine = write_engine(StorageConfig(url, writers=1, **config))  # type: ignore[arg-type]
    yield PostgresSink(engine)
    await engine.dispose()


@pytest.fixture
def in_copy(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Awaitable[object]]], None]:
    """Return a function: what it is given is called once with the backend's pid, when half of a COPY is sent."""
    write = psycopg.AsyncCopy.write

    def once(action: Callable[[int], Awaitable[object]]) -> None:
        actions = [action]

        async def write_and_act(self: psycopg.AsyncCopy, data: bytes) -> None:
            await write(self, data[: len(data) // 2])
            if actions:
                await actions.pop()(self.connection.info.backend_pid)
            await write(self, data[len(data) // 2 :])

        monkeypatch.setattr(psycopg.AsyncCopy, "write", write_and_act)

    return once


async def expect_once_more(sink: PostgresSink, engine: AsyncEngine) -> None:
    """Write and expect a retryable error with nothing stored; write again and expect all."""
    batch = request()
    with pytest.raises(RetryableStoreError) as caught:
        await sink.write([batch])
    assert type(caught.value) is RetryableStoreError
    assert await count(engine) == 0
    assert await sink.write([batch]) == [Outcome()]
    assert await count(engine) == len(batch.rows)


@pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])
async def test_a_session_that_is_ended_in_the_middle_of_copy(
    engine: AsyncEngine, admin: AsyncConnection, in_copy: Callable[..., None], function: str
) -> None:
    """Ended or cancelled by an administrator: retryable, and not a question that asked too much."""
    in_copy(lambda pid: admin.execute(f"SELECT {function}({pid})"))

    await expect_once_more(PostgresSink(engine), engine)


@pytest.mark.parametrize("state", PASSING)
async def test_errors_that_pass(engine: AsyncEngine, admin: AsyncConnection, state: str) -> None:
    """A trigger raises the SQLSTATE inside of COPY, and is gone afterwards."""
    await PostgresSink(engine).write([batch_of([log_row()])])
    await admin.execute("DELETE FROM log_records")
    await admin.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END $$"
    )
    await admin.execute("CREATE TRIGGER fail BEFORE INSERT ON log_records FOR EACH ROW EXECUTE FUNCTION fail()")
    batch = request()
    sink = PostgresSink(engine)

    with pytest.raises(RetryableStoreError) as caught:
        await sink.write([batch])
    assert type(caught.value) is RetryableStoreError
    await admin.execute("DROP TRIGGER fail ON log_records")

    assert await sink.write([batch]) == [Outcome()]
    assert await count(engine) == len(batch.rows)


async def test_a_deadlock_with_another_session(database_url: str, engine: AsyncEngine, admin: AsyncConnection) -> None:
    """The other holds our resource and waits for our key: PostgreSQL ends ours, and the next attempt stores."""
    await admin.execute(f"ALTER DATABASE {make_url(database_url).database} SET deadlock_timeout = '50ms'")
    batch = request()
    assert batch.key is not None
    async with sink_of(database_url) as sink:
        await admin.execute("SET deadlock_timeout = '60s'")
        async with admin.transaction():
            await admin.execute("INSERT INTO resources VALUES (%s, 'shop', '{}', 0, '')", (RESOURCE.id.hex(),))
            writing = asyncio.create_task(sink.write([batch]))
            await _until_somebody_waits(engine)
            for n in range(3):
                insert = f"INSERT INTO request_digests_{n} VALUES (%s, now(), 0) ON CONFLICT DO NOTHING"  # noqa: S608
                await admin.execute(insert, (batch.key.digest.hex(),))
            with pytest.raises(RetryableStoreError, match="deadlock"):
                await writing
            raise psycopg.Rollback

        assert await sink.write([batch]) == [Outcome()]
    assert await count(engine) == len(batch.rows)


async def _until_somebody_waits(engine: AsyncEngine) -> None:
    async with engine.connect() as watching:
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        while not (await watching.execute(waiting)).scalar_one():  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(0.01)


async def test_a_table_that_is_locked_is_waited_for_a_bounded_time(
    database_url: str, engine: AsyncEngine, admin: AsyncConnection
) -> None:
    """By lock_timeout, or where that is longer by statement_timeout: never for ever, and to be tried again."""
    for config in ({"lock_timeout_s": 0.1}, {"lock_timeout_s": 60.0, "write_timeout_s": 0.2}):
        async with sink_of(database_url, **config) as sink:
            await sink.write([batch_of([log_row()])])
            await admin.execute("DELETE FROM log_records")
            batch = request(str(config).encode())
            async with admin.transaction():
                await admin.execute("LOCK TABLE log_records")
                with pytest.raises(RetryableStoreError) as caught:
                    await sink.write([batch])
            assert type(caught.value) is RetryableStoreError
            assert await sink.write([batch]) == [Outcome()]
            assert await count(engine) == len(batch.rows)


async def test_a_database_that_becomes_read_only(
    database_url: str, engine: AsyncEngine, admin: AsyncConnection
) -> None:
    """As after a failover to a standby: retryable while it lasts."""
    name = make_url(database_url).database
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with sink_of(database_url) as sink:
        with pytest.raises(RetryableStoreError, match="read-only"):
            await sink.write([request()])
    await admin.execute("SET default_transaction_read_only = off")
    await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    async with sink_of(database_url) as sink:
        assert await sink.write([request()]) == [Outcome()]
    assert await count(engine) == 50


async def test_no_connection_left(database_url: str, engine: AsyncEngine, admin: AsyncConnection) -> None:
    """53300 of a real server, for a role that may not connect any more; then it may."""
    role = f"app_{make_url(database_url).database}"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app' CONNECTION LIMIT 0")
    try:
        await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        await admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
        await PostgresSink(engine).write([batch_of([log_row()])])
        await admin.execute("DELETE FROM log_records")
        url = make_url(database_url).set(username=role, password="app").render_as_string(hide_password=False)
        async with sink_of(url) as sink:
            with pytest.raises(RetryableStoreError, match="too many connections"):
                await sink.write([request()])
            await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
            await admin.execute(f"GRANT pg_read_all_data, pg_write_all_data TO {role}")
            assert await sink.write([request()]) == [Outcome()]
            assert await count(engine) == 50
    finally:
        await admin.execute(f"DROP OWNED BY {role}")
        await admin.execute(f"DROP ROLE {role}")


async def test_a_plan_of_the_schema_before_a_migration(
    engine: AsyncEngine, admin: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours are planned anew, by PostgreSQL; one that returns another type now is tried again on another connection."""

    async def alter(kind: str) -> None:
        for n in range(3):
            await admin.execute(f"ALTER TABLE request_digests_{n} ALTER COLUMN rejected TYPE {kind}")

    sink = PostgresSink(engine)
    for _ in range(8):
        await sink.write([request()])
    await alter("bigint")
    assert (await sink.write([request()]))[0].duplicate_age_s is not None

    monkeypatch.setattr(rollups, "storing", lambda *_: (b"SELECT rejected FROM request_digests_0", ()))
    for _ in range(2):
        await sink.write([request()])
    await alter("integer")
    with pytest.raises(RetryableStoreError, match="migrated"):
        await sink.write([request()])
    assert (await sink.write([request()]))[0].duplicate_age_s is not None
    assert await count(engine) == 50


async def test_a_request_that_is_being_stored_for_long_is_busy_and_its_neighbours_are_stored(
    database_url: str, engine: AsyncEngine
) -> None:
    """Two of a hundred are claimed by a transaction that does not end: 98 are stored, two are to be sent again."""
    holder = PostgresSink(engine)
    keys = [request_key("logs", b"7"), request_key("logs", b"70")]
    batches = [request(str(n).encode(), rows=1) for n in (*range(100), 70)]
    async with sink_of(database_url, lock_timeout_s=0.2) as sink:
        async with engine.connect() as connection:
            await holder._digests.claim(connection, keys)
            outcomes = await asyncio.wait_for(sink.write(batches), 30)
            await connection.rollback()

        assert [n for n, outcome in enumerate(outcomes) if outcome.busy] == [7, 70, 100]
        assert [outcome for outcome in outcomes if not outcome.busy] == [Outcome()] * 98
        assert await count(engine) == 98
        assert await sink.write([batches[7], batches[70]]) == [Outcome(), Outcome()]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'connection to server at "10.0.0.1", port 5432 failed: FATAL:  the database system is starting up',
            "starting",
        ),
        ('connection to server at "10.0.0.1", port 5432 failed: Connection refused\n\tIs it running?', "refused"),
        ("server closed the connection unexpectedly", "OperationalError"),
    ],
)
def test_a_connection_that_is_not_made_says_why_and_not_where(message: str, reason: str) -> None:
    """PostgreSQL's own words, without the address."""
    error = translate(psycopg.OperationalError(message))

    assert type(error) is RetryableStoreError
    assert reason in str(error)
    assert "10.0.0.1" not in str(error)


def test_a_feature_that_is_not_there_is_permanent() -> None:
    """0A000 is not a stale plan by its code alone."""
    assert isinstance(translate(psycopg.errors.FeatureNotSupported("no")), PermanentStoreError)
