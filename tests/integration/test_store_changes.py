"""PostgreSQL changes under the writers: restarts, the migration, partitions that go. Acknowledged is there, once."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.migration import former_head, measure
from storage import embedded, migrate, partitions
from storage.config import StorageConfig
from storage.engine import write_engine
from storage.errors import StoreError
from storage.keys import request_key
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

DAY_US = 86_400_000_000


class Writers:
    """Writers that go on whatever happens: each request is tried until it is acknowledged."""

    def __init__(self, url: str, *, days: int = 1) -> None:
        self.acknowledged: list[str] = []
        self.troubles: Counter[str] = Counter()
        self._days = days
        self._engine = write_engine(StorageConfig(url, lock_timeout_s=0.5))
        self._stop = asyncio.Event()
        sink = PostgresSink(self._engine)
        self._tasks = [asyncio.create_task(self._write(sink, n)) for n in range(3)]

    async def _write(self, sink: PostgresSink, writer: int) -> None:
        number = 0
        while not self._stop.is_set():
            names = [f"{writer}-{number}-{row}" for row in range(5)]
            number += 1
            days = [now_us() - row % self._days * DAY_US for row in range(5)]
            batch = batch_of([log_row(body=name, time=at) for name, at in zip(names, days, strict=True)])
            batch.key = request_key("logs", names[0].encode())
            while True:
                try:
                    (outcome,) = await sink.write([batch])
                except StoreError as error:
                    self.troubles[str(error)] += 1
                    await asyncio.sleep(0.02)
                else:
                    gone = {row.index for row in outcome.rejected}
                    self.acknowledged += [name for i, name in enumerate(names) if i not in gone]
                    break

    async def until(self, more: int) -> None:
        """Wait until so many records more are acknowledged."""
        wanted = len(self.acknowledged) + more
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - several tasks add to it
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Let each finish its request."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        await self._engine.dispose()


def stored(url: str) -> Counter[str]:
    """Return how often each record is there."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return Counter(body for (body,) in connection.execute("SELECT body FROM log_records"))


@pytest.fixture
async def server() -> AsyncIterator[embedded.EmbeddedPostgres]:
    """Yield a PostgreSQL of this test's own."""
    data_dir = Path(tempfile.mkdtemp(prefix="oi-"))
    server = await embedded.start(data_dir)
    yield server
    await server.stop()
    shutil.rmtree(server.cluster.pgdata.resolve().parent, ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


async def test_the_migration_runs_while_others_write(empty_database_url: str) -> None:
    """From the first revision, rows present, a writer of the old release at work: none waits for long, none is lost."""
    await migrate.upgrade(empty_database_url, "0001")
    with psycopg.connect(empty_database_url) as connection:
        for day in partitions.days_ahead(datetime.now(UTC), 1):
            first = datetime.fromtimestamp(day * 86_400, UTC)
            connection.execute(
                f"CREATE TABLE {partitions.partition_name('log_records', day)} PARTITION OF log_records "
                f"FOR VALUES FROM ('{first.isoformat()}') TO ('{(first + timedelta(days=1)).isoformat()}')"
            )
    done = asyncio.Event()

    async def old_release() -> int:
        """Insert as a release without digests did, until told to stop."""
        insert = (
            "INSERT INTO log_records (time, time_unix_nano, observed_time_unix_nano, resource_id, scope_id, "
            "severity_number, flags, dropped_attributes_count, body_kind, component, severity_text, event_name, "
            "attributes, body) VALUES (now(), 0, 0, gen_random_uuid(), gen_random_uuid(), 9, 0, 0, 1, 'old', '', '', "
            "'{}', %s)"
        )
        count = 0
        async with await psycopg.AsyncConnection.connect(empty_database_url, autocommit=True) as connection:
            while not done.is_set() or count < 10:
                await connection.execute(insert, (f"old-{count}",))
                count += 1
        return count

    old = asyncio.create_task(old_release())
    writers = Writers(empty_database_url)
    async with asyncio.timeout(30):
        while not writers.troubles:  # noqa: ASYNC110 - the new release waits for its schema
            await asyncio.sleep(0.01)
    await migrate.upgrade(empty_database_url)
    await writers.until(100)
    done.set()
    count = await old
    await writers.stop()

    assert any("migrate" in trouble for trouble in writers.troubles)
    assert stored(empty_database_url) == Counter([*writers.acknowledged, *(f"old-{n}" for n in range(count))])


async def test_up_and_down_while_others_write(empty_database_url: str) -> None:
    """From the former head to the newest and back, rows present, its writers at work: each record is there, once.

    ``make migrate-bench`` does it with a million rows, and tells how long they waited.
    """
    assert await asyncio.to_thread(measure, empty_database_url, 2_000, former_head(), 0.5) == 0


async def test_partitions_are_dropped_while_others_write(engine: AsyncEngine, database_url: str) -> None:
    """Yesterday goes again and again, detached or dropped at once: what is acknowledged of today is there, once."""
    await partitions.maintain(engine, datetime.now(UTC), ahead=1)
    writers = Writers(database_url, days=2)
    for turn in range(6):
        await writers.until(60)
        days = sorted(p.name for p in await partitions.list_partitions(engine) if p.table == "log_records")
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '30s'"))
            if turn % 2:
                await connection.execute(text(f"ALTER TABLE log_records DETACH PARTITION {days[0]}"))
            await connection.execute(text(f"DROP TABLE {days[0]}"))
    await writers.until(60)
    await writers.stop()

    found = stored(database_url)
    today = [name for name in writers.acknowledged if int(name.rpartition("-")[2]) % 2 == 0]
    assert {name: found[name] for name in today} == dict.fromkeys(today, 1)
    assert set(found.values()) == {1}


async def test_postgresql_crashes_while_others_write(server: embedded.EmbeddedPostgres) -> None:
    """A session is killed: PostgreSQL ends all others and recovers from its log. Nothing is lost, nothing is twice."""
    await migrate.upgrade(server.url)
    writers = Writers(server.url)
    for _ in range(3):
        await writers.until(100)
        with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
            victim = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'otel-ingest' LIMIT 1"
            ).fetchone()
        assert victim is not None
        os.kill(victim[0], signal.SIGKILL)
    await writers.until(100)
    await writers.stop()

    assert writers.troubles
    assert stored(server.url) == Counter(writers.acknowledged)
