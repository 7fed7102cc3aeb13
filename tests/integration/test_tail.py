"""The tails: each record once and none missed, whatever the order in which transactions end."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from mcp_tools.language import expression
from mcp_tools.loki.routes import Loki
from mcp_tools.page.tail import events, place_after
from otel_ingest.config import Endpoint
from otel_ingest.listener import HttpListener
from otel_ingest.sockets import bind
from storage import tokens
from storage.columns import LOG_RECORDS
from storage.filters import LogQuery
from storage.reader import Reader
from storage.reading import tail as tail_reading
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row
from tests.web_socket import handshake, message

_COLUMNS = ", ".join(c.name for c in LOG_RECORDS.columns)
_COPIED = ", ".join(f"'{{body}}' || g AS {c.name}" if c.name == "body" else c.name for c in LOG_RECORDS.columns)


async def tail(engine: AsyncEngine, **arguments: Any) -> Answer:
    """Ask logger_tail; the answer keeps to its budget both ways."""
    answer = await call(Reader(engine), "read", "logger_tail", {"wait_s": 0} | arguments)
    room = arguments.get("max_tokens", 4_000) * 4 * 1.05
    assert len(answer.text) <= room
    assert len(json.dumps(answer.data, ensure_ascii=False)) <= room
    return answer


def bodies(answer: Answer) -> list[str]:
    """Return what the records say."""
    return [row[4] for row in answer.data["rows"]]


def insert(connection: psycopg.Connection[Any], body: str, rows: int = 1) -> None:
    """Store rows that say ``body`` and their number, in a savepoint as the sink does."""
    connection.execute("SELECT 1")  # without autocommit the transaction that the savepoint is in
    with connection.transaction():
        connection.execute(
            f"INSERT INTO log_records ({_COLUMNS}) SELECT {_COPIED.format(body=body)} "  # noqa: S608 - of tests
            f"FROM (SELECT * FROM log_records ORDER BY id LIMIT 1) AS r, generate_series(1, {rows}) AS g"
        )


@pytest.fixture
async def store(engine: AsyncEngine) -> AsyncEngine:
    """Return a store of three records."""
    await PostgresSink(engine).write([batch_of([log_row(body=f"seed {i}") for i in range(3)])])
    return engine


async def test_slow_transactions_are_neither_missed_nor_repeated(store: AsyncEngine, database_url: str) -> None:
    """One began before the tail, one during it; both end last, below what was seen already."""
    with psycopg.connect(database_url) as early, psycopg.connect(database_url) as late:
        insert(early, "early ")
        first = await tail(store)
        assert bodies(first) == ["seed 0", "seed 1", "seed 2"]
        insert(late, "late ")
        await PostgresSink(store).write([batch_of([log_row(body="quick 1")])])
        second = await tail(store, after=first.data["cursor"])
        await PostgresSink(store).write([batch_of([log_row(body="quick 2")])])
        third = await tail(store, after=second.data["cursor"])
        late.commit()
        fourth = await tail(store, after=third.data["cursor"])
        early.commit()
        fifth = await tail(store, after=fourth.data["cursor"])

    last = await tail(store, after=fifth.data["cursor"])
    assert [bodies(a) for a in (second, third, fourth, fifth, last)] == [
        ["quick 1"], ["quick 2"], ["late 1"], ["early 1"], []
    ]  # fmt: skip


async def of_the_tool(engine: AsyncEngine) -> AsyncGenerator[str]:
    """Yield what logger_tail tells, asked again and again."""
    answer = await tail(engine, query="wanted")
    while True:
        for body in bodies(answer):
            yield body
        answer = await tail(engine, query="wanted", after=answer.data["cursor"], wait_s=5)


async def of_the_page(engine: AsyncEngine) -> AsyncGenerator[str]:
    """Yield what the page's events tell to a browser that loses its connection after each of them."""
    query = LogQuery(query=expression("wanted"), limit=200)

    async def allowed() -> bool:
        return True

    last = ""
    while True:
        told = events(Reader(engine), query, place_after(last, query), allowed)
        async for event in told:
            fields = dict(line.split(": ", 1) for line in event.decode().splitlines() if line)
            if "data" in fields:
                last = fields["id"]
                yield json.loads(fields["data"])["body"]
                break


async def of_loki(engine: AsyncEngine) -> AsyncGenerator[str]:
    """Yield what Loki's tail tells over a real connection."""
    token, _ = await tokens.create(engine, "logcli", "read")
    app = Starlette(routes=Loki(Reader(engine), partial(tokens.verify, engine)).routes())
    listener = HttpListener(app, bind(Endpoint("127.0.0.1:0"), "query_endpoint"), drain_timeout_s=1, websockets=True)
    await listener.start()
    try:
        path = "/loki/api/v1/tail?query=%7Bcomponent%3D~%22.%2B%22%7D+%7C%3D+%22wanted%22"
        reader, writer, answer = await handshake(listener.address, path, token)
        assert answer.startswith(b"HTTP/1.1 101")
        while True:
            for stream in (await message(reader))["streams"]:
                for _, body in stream["values"]:
                    yield body
    finally:
        writer.close()
        await listener.stop()


@pytest.mark.parametrize("following", [of_the_tool, of_the_page, of_loki])
async def test_every_tail_tells_what_ends_late(
    engine: AsyncEngine, database_url: str, following: Callable[[AsyncEngine], AsyncGenerator[str]]
) -> None:
    """One transaction began before the tail, one during it; thousands of records overtake both."""
    now = log_row(body="wanted 0", time=time.time_ns() // 1000)
    await PostgresSink(engine).write([batch_of([now])])
    told = following(engine)
    seen = []
    with psycopg.connect(database_url) as early, psycopg.connect(database_url) as late:
        async with asyncio.timeout(60), contextlib.aclosing(told):
            insert(early, "wanted early ")
            seen.append(await anext(told))
            insert(late, "wanted late ")
            for n in range(3):
                with psycopg.connect(database_url) as quick:
                    insert(quick, "other ", 1_000)
                    insert(quick, f"wanted quick {n}.")
                seen.append(await anext(told))
            for slow in (late, early):
                slow.commit()
                seen.append(await anext(told))
            await PostgresSink(engine).write([batch_of([log_row(body="wanted at last")])])
            seen.append(await anext(told))

    assert seen == [
        "wanted 0", "wanted quick 0.1", "wanted quick 1.1", "wanted quick 2.1", "wanted late 1", "wanted early 1",
        "wanted at last",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_of_transactions(store: AsyncEngine, database_url: str, seed: int) -> None:
    """Five writers begin, store and end at random, some roll back; small pages bring each row that stayed once."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    writers = [psycopg.connect(database_url) for _ in range(5)]
    stored: dict[int, list[str]] = {i: [] for i in range(5)}
    kept: list[str] = []
    seen: list[str] = []
    cursor = (await tail(store)).data["cursor"]
    for step in range(60):
        i = rng.randrange(5)
        what = rng.random()
        if what < 0.5:
            rows = rng.randrange(1, 6)
            insert(writers[i], f"{step}.{i}.", rows)
            stored[i] += [f"{step}.{i}.{n + 1}" for n in range(rows)]
        elif what < 0.75:
            writers[i].commit()
            kept += stored[i]
            stored[i] = []
        elif what < 0.8:
            writers[i].rollback()
            stored[i] = []
        else:
            answer = await tail(store, after=cursor, limit=rng.randrange(1, 8), max_tokens=rng.choice([400, 4_000]))
            seen += bodies(answer)
            cursor = answer.data["cursor"]
    for i, writer in enumerate(writers):
        writer.commit()
        kept += stored[i]
        writer.close()
    while True:
        answer = await tail(store, after=cursor, limit=7)
        if not answer.data["rows"]:
            break
        seen += bodies(answer)
        cursor = answer.data["cursor"]

    assert sorted(seen) == sorted(kept)


async def test_more_than_can_be_remembered_waits_and_is_not_lost(
    store: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one transaction runs on and on, what ends meanwhile comes late rather than twice or never."""
    monkeypatch.setattr(tail_reading, "REMEMBERED_MAX", 5)
    cursor = (await tail(store)).data["cursor"]
    with psycopg.connect(database_url) as slow, psycopg.connect(database_url, autocommit=True) as quick:
        insert(slow, "slow ")
        for n in range(12):
            insert(quick, f"quick {n}.")
        first = await tail(store, after=cursor)
        again = await tail(store, after=first.data["cursor"])
        slow.commit()
    rest = await tail(store, after=again.data["cursor"])

    assert "has run for long" in first.text
    assert again.data["rows"] == []
    assert sorted(bodies(first) + bodies(rest)) == sorted(["slow 1", *(f"quick {n}.1" for n in range(12))])


async def test_it_waits_for_the_first_new_record_and_says_so(store: AsyncEngine) -> None:
    """A long poll ends with the first record; meanwhile progress is told."""
    told: list[str] = []
    cursor = (await tail(store)).data["cursor"]

    async def progress(_so_far: float, _of: float, what: str) -> None:
        told.append(what)
        if len(told) == 1:
            await PostgresSink(store).write([batch_of([log_row(body="at last")])])

    asked = {"after": cursor, "wait_s": 25}
    answer = await asyncio.wait_for(call(Reader(store), "read", "logger_tail", asked, progress=progress), 60)

    assert bodies(answer) == ["at last"]
    assert told == ["waiting for new log records"]


async def test_filters_and_foreign_cursors(store: AsyncEngine) -> None:
    """Only what matches; a cursor of another question, or a damaged one, is refused."""
    cursor = (await tail(store, severity_min="error")).data["cursor"]
    rows = [log_row(body="fine"), log_row(body="broken", severity_number=17)]
    await PostgresSink(store).write([batch_of(rows)])

    assert bodies(await tail(store, severity_min="error", after=cursor)) == ["broken"]
    for after in (cursor, "k1.x", f"{cursor}x"):
        with pytest.raises(UserInputError) as caught:
            await tail(store, after=after)
        assert caught.value.code == "INVALID_CURSOR"
