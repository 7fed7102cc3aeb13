"""What a question may cost: it ends with who asked it, a count does not hold up its answer, a search has its bounds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson
import psycopg
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from storage import embedded
from storage.columns import SPANS
from storage.config import StorageConfig
from storage.engine import read_engine
from storage.errors import QueryTimeout
from storage.filters import LogQuery
from storage.packing.connection import Manner, PackedConnection, reading_connection
from storage.reader import Reader
from storage.reading import bounds
from storage.sink import PostgresSink
from tests import harness
from tests.contract.test_mcp_roles import message
from tests.factories import batch_of, log_row, now_us, span_row

# Longer than any test waits: what ends before was cancelled.
READ_TIMEOUT_S = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """Yield a server whose statements would go on for ten minutes."""
    settings = {"OTEL_INGEST_READ_TIMEOUT_S": str(READ_TIMEOUT_S)}
    with harness.running(tmp_path_factory.mktemp("cost") / "data", **settings) as running:
        yield running


@asynccontextmanager
async def held(server: harness.Server) -> AsyncIterator[None]:
    """Hold a lock that every question about log records waits for: a statement that does not end by itself."""
    url = embedded.connection_url(server.data_dir).replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("LOCK TABLE log_records IN ACCESS EXCLUSIVE MODE")
        yield
        await connection.rollback()


def statements(server: harness.Server) -> int:
    """Return how many statements of the reader wait for that lock."""
    with server.sql() as sql:
        row = sql.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Lock' "
            "AND usename = 'otel_ingest_reader'"
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


async def has(server: harness.Server, count: int) -> None:
    """Wait, bounded, until so many statements run."""

    async def there() -> bool:
        return await asyncio.to_thread(statements, server) == count

    await harness.until(there)


async def by_api(server: harness.Server) -> None:
    """Ask the JSON API."""
    async with httpx2.AsyncClient(timeout=READ_TIMEOUT_S) as http:
        headers = {"Authorization": f"Bearer {server.token()}"}
        await http.get(f"http://{server.query}/api/v1/logs?limit=1", headers=headers)


async def by_post(server: harness.Server) -> None:
    """Ask over MCP as of 2026-07-28, where closing the connection is how a client cancels."""
    body, headers = message("tools/call", "2026-07-28", name="logger_query", arguments={"limit": 1})
    async with httpx2.AsyncClient(timeout=READ_TIMEOUT_S) as http:
        headers |= {"Authorization": f"Bearer {server.token()}"}
        await http.post(f"http://{server.query}/mcp", json=body, headers=headers)


async def by_legacy_client(server: harness.Server) -> None:
    """Ask over MCP as of 2025-11-25 with the library's client, which says notifications/cancelled."""
    headers = {"Authorization": f"Bearer {server.token()}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=READ_TIMEOUT_S) as http,
        Client(streamable_http_client(f"http://{server.query}/mcp", http_client=http), mode="legacy") as client,
    ):
        await client.call_tool("logger_query", {"limit": 1})


@pytest.mark.parametrize("ask", [by_api, by_post, by_legacy_client])
async def test_who_goes_away_takes_the_statement_along(server: harness.Server, ask: Any) -> None:
    """PostgreSQL ends it as soon as its client is gone; the connection serves the next question."""
    async with held(server):
        asking = asyncio.create_task(ask(server))
        await has(server, 1)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError, ExceptionGroup):
            await asking
        await has(server, 0)
    async with asyncio.timeout(20):
        await ask(server)


@pytest.fixture
async def reader(engine: AsyncEngine, database_url: str) -> AsyncIterator[Reader]:
    """Yield a reader of a store with 6,000 records in 60 s, each 100th of them with a needle."""
    start = time.time_ns() // 1000 - 60_000_000
    rows = [
        log_row(time=start + i * 10_000, body=f"record {i} {'needle' if i % 100 == 0 else 'hay'} {'x' * 500}")
        for i in range(6_000)
    ]
    await PostgresSink(engine).write([batch_of(rows)])
    reading = read_engine(StorageConfig(database_url))
    yield Reader(reading)
    await reading.dispose()


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_a_search_that_is_too_slow_says_how_far_it_came(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Page by page it finds each match once, in order; each page says after how many of how many it stopped."""
    monkeypatch.setattr(bounds, "SEARCH_S", 0.001)
    monkeypatch.setattr(bounds, "SEARCH_ROWS", 1_000)
    arguments: dict[str, Any] = {"text": "needle", "order": order, "since": "1h", "limit": 1000, "max_tokens": 20_000}
    found: list[int] = []
    pages = []
    cursor = None
    while True:
        data = (await call(reader, "read", "logger_query", arguments | ({"cursor": cursor} if cursor else {}))).data
        found += [row[0] for row in data["rows"]]
        pages.append(data)
        if (cursor := data["next_cursor"]) is None:
            break

    assert len(found) == len(set(found)) == 60
    assert found == sorted(found, reverse=order == "newest")
    stopped = [page for page in pages if page["truncated_by"] == "scan_budget"]
    assert len(stopped) >= 4
    assert all(str(page["matched"]).startswith("≥") for page in stopped)
    assert any("stopped after 1000 of about " in hint for hint in stopped[0]["hints"])


async def test_a_search_for_messages_to_fold_has_the_same_bound(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page says how far it came; folded or not, all matches are counted once over the pages."""
    monkeypatch.setattr(bounds, "SEARCH_S", 0.001)
    monkeypatch.setattr(bounds, "SEARCH_ROWS", 1_000)
    arguments: dict[str, Any] = {"text": "needle", "collapse": "patterns", "since": "1h", "max_tokens": 20_000}
    counted, pages, cursor = 0, [], None
    while True:
        data = (await call(reader, "read", "logger_query", arguments | ({"cursor": cursor} if cursor else {}))).data
        counted += sum(row[data["columns"].index("n")] for row in data["rows"])
        pages.append(data)
        if (cursor := data["next_cursor"]) is None:
            break

    stopped = [page for page in pages if page["truncated_by"] == "scan_budget"]
    assert counted == 60
    assert len(stopped) >= 4
    assert any("stopped after 1000 of about " in hint for hint in stopped[0]["hints"])


@pytest.mark.parametrize("sort", ["newest", "slowest"])
async def test_a_search_for_traces_has_a_bound(
    reader: Reader, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """It stops after so many spans and says so; the newest first go on by the cursor, each trace once."""
    start = time.time_ns() // 1000 - 60_000_000
    spans = [
        span_row(
            time=start + i * 10_000,
            trace_id=(i + 1).to_bytes(16, "big"),
            attributes=b'{"rare":true}' if i % 100 == 0 else b'{"pad":"' + b"x" * 600 + b'"}',
        )
        for i in range(6_000)
    ]
    await PostgresSink(engine).write([batch_of(spans, SPANS)])
    monkeypatch.setattr(bounds, "SEARCH_S", 0.001)
    monkeypatch.setattr(bounds, "SEARCH_ROWS", 1_000)
    arguments: dict[str, Any] = {"attributes": {"rare": True}, "since": "1h", "sort": sort, "max_tokens": 20_000}
    found: list[str] = []
    pages, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        data = (await call(reader, "read", "logger_search_traces", arguments | more)).data
        found += [trace["trace_id"] for trace in data["traces"]]
        pages.append(data)
        if (cursor := data["next_cursor"]) is None:
            break

    assert len(found) == len(set(found)) == (60 if sort == "newest" else 10)
    assert pages[0]["truncated_by"] == "scan_budget"
    assert "stopped after 1000 of about " in pages[0]["hints"][0]


async def test_a_search_within_its_time_is_exact(reader: Reader) -> None:
    """Without haste nothing is bounded: all that match, counted."""
    data = (await call(reader, "read", "logger_query", {"text": "needle", "since": "1h", "limit": 10})).data

    assert data["matched"] == 60
    assert data["truncated_by"] == "limit"


async def test_a_rare_value_that_is_taken_for_frequent_is_found_by_its_index(
    engine: AsyncEngine, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL takes a value of its sample for one in a hundred, and would look for it through all records."""
    at = now_us()
    rows = [log_row(time=at - i, attributes=orjson.dumps({"user.id": i})) for i in range(20_000)]
    await PostgresSink(engine).write([batch_of(rows)])
    async with engine.begin() as connection:
        day = await connection.scalar(text("SELECT max(CAST(tableoid AS regclass)::text) FROM log_records"))
        await connection.execute(text(f"CREATE INDEX ON {day} USING gin (attributes jsonb_path_ops)"))
        await connection.execute(text(f"ANALYZE {day}"))
        sampled = await connection.scalar(
            text(
                "SELECT CAST((CAST(CAST(histogram_bounds AS text) AS text[]))[50] AS jsonb) -> 'user.id' FROM pg_stats "
                "WHERE tablename = :day AND attname = 'attributes'"
            ),
            {"day": day},
        )
    manners: list[Manner] = []
    real = PackedConnection.manner
    monkeypatch.setattr(PackedConnection, "manner", lambda self, manner: manners.append(manner) or real(self, manner))
    monkeypatch.setattr(bounds, "FREQUENT_S", 0.001)
    for value, tried in ((sampled, [False, True]), (sampled + 1, [False])):
        manners.clear()
        page = await reader.find_logs(LogQuery(attributes={"user.id": value}, limit=5))
        assert [at - entry.time_ns // 1000 for entry in page.items] == [value]
        assert [manner.out_of_order for manner in manners if manner.limit_ms] == tried


async def test_a_slow_count_does_not_fail_the_answer(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are there, and the number is one that is plainly a lower bound."""
    monkeypatch.setattr(bounds, "COUNT_S", 0.001)
    page = await reader.find_logs(LogQuery(text="hay", limit=5))

    assert len(page.items) == 5
    assert page.matched_is_lower_bound
    assert page.matched == 6
    assert page.next_cursor is not None


async def test_the_time_limit_of_a_statement_stands(reader: Reader, database_url: str) -> None:
    """After a statement in a hurry the next one has its former time again; one that takes longer is a timeout."""
    slow = read_engine(StorageConfig(database_url, read_timeout_s=7.0))
    async with reading_connection(slow) as connection:
        async with bounds.hurried(connection, 1.0):
            assert (await connection.scalar(text("SHOW statement_timeout"))) == "1s"
        assert (await connection.scalar(text("SHOW statement_timeout"))) == "7s"
        async with bounds.hurried(connection, 30.0):
            assert (await connection.scalar(text("SHOW statement_timeout"))) == "7s"
    await slow.dispose()
    quick = read_engine(StorageConfig(database_url, read_timeout_s=0.001))
    with pytest.raises(QueryTimeout):
        await Reader(quick).find_logs(LogQuery(text="nothing like it"))
    await quick.dispose()
    assert (await reader.find_logs(LogQuery(limit=1))).items


async def test_the_time_of_one_statement_does_not_bound_the_change_to_the_next(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy PostgreSQL takes longer to set a limit than the one before allows: it is set in a new transaction."""
    changes = iter(["", "SELECT pg_sleep(5); "])
    sql = Manner.sql
    monkeypatch.setattr(Manner, "sql", lambda self, own_ms: next(changes, "") + sql(self, own_ms))
    engine = read_engine(StorageConfig(database_url, read_timeout_s=7.0))
    async with reading_connection(engine) as connection:
        async with bounds.hurried(connection, 0.05):
            assert (await connection.scalar(text("SHOW statement_timeout"))) == "50ms"
        assert (await connection.scalar(text("SHOW statement_timeout"))) == "7s"
    await engine.dispose()
    assert next(changes, None) is None
