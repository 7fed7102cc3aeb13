"""Retention at work while it ingests: days are detached and dropped under the writers, no other day loses a row."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import partitions
from storage.api import Outcome
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

DAY_US = 86_400_000_000
ROUNDS = 12


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    """Yield a connection of somebody who keeps the partitions, each statement committed."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


def old_day() -> tuple[int, str]:
    """Return a time thirty days ago, and its partition's name."""
    old = now_us() - 30 * DAY_US
    return old, partitions.partition_name("log_records", old // DAY_US)


async def bodies(engine: AsyncEngine, but: str) -> list[str]:
    """Return the bodies of all log records but ``but``, sorted."""
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT body FROM log_records WHERE body <> :but"), {"but": but})
        return sorted(found.scalars())


async def test_days_are_dropped_under_live_ingest(
    engine: AsyncEngine, connection: psycopg.AsyncConnection[tuple[object, ...]]
) -> None:
    """Two writers store rows of an old day and of today; the old day is detached and dropped again and again.

    No write fails, at most the old day's row is refused, and each row of today is there once.
    """
    old, name = old_day()
    stop = asyncio.Event()

    async def ingest(writer: int) -> list[str]:
        sink, written = PostgresSink(engine), list[str]()
        while not stop.is_set():
            body = f"{writer}-{len(written):06d}"
            (outcome,) = await sink.write([batch_of([log_row(time=old, body="old"), log_row(body=body)])])
            assert all(row.index == 0 and "partition" in row.reason for row in outcome.rejected)
            written.append(body)
        return written

    writers = [asyncio.create_task(ingest(n)) for n in range(2)]
    dropped = 0
    while dropped < ROUNDS and not any(writer.done() for writer in writers):
        cursor = await connection.execute("SELECT to_regclass(%s)", [name])
        if await cursor.fetchone() == (None,):
            await asyncio.sleep(0)
            continue
        day = sql.Identifier(name)
        await connection.execute(sql.SQL("ALTER TABLE log_records DETACH PARTITION {} CONCURRENTLY").format(day))
        await connection.execute(sql.SQL("DROP TABLE {}").format(day))
        dropped += 1
    stop.set()
    written = await asyncio.gather(*writers)

    assert dropped == ROUNDS
    assert await bodies(engine, but="old") == sorted(written[0] + written[1])


async def test_a_detached_day_costs_its_own_rows_only(
    engine: AsyncEngine, connection: psycopg.AsyncConnection[tuple[object, ...]]
) -> None:
    """A day that is detached and kept: its rows are refused by name, the request's others stored; back, it takes rows.

    So for a sink that remembers the day and for one that starts now.
    """
    old, name = old_day()
    veteran = PostgresSink(engine)
    await veteran.write([batch_of([log_row(time=old)])])
    await connection.execute(sql.SQL("ALTER TABLE log_records DETACH PARTITION {}").format(sql.Identifier(name)))

    for sink in (veteran, PostgresSink(engine)):
        (outcome,) = await sink.write([batch_of([log_row(), log_row(time=old), log_row()])])

        assert [row.index for row in outcome.rejected] == [1]
        assert "detached" in outcome.rejected[0].reason
    assert len(await bodies(engine, but="")) == 4

    day = old // DAY_US
    attach = "ALTER TABLE log_records ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})"
    bounds = (sql.Literal(f"{date(1970, 1, 1) + timedelta(days=d)} 00:00:00+00") for d in (day, day + 1))
    await connection.execute(sql.SQL(attach).format(sql.Identifier(name), *bounds))
    for sink in (veteran, PostgresSink(engine)):
        assert await sink.write([batch_of([log_row(time=old)])]) == [Outcome()]
    assert len(await bodies(engine, but="")) == 7
