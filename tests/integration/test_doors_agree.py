"""The same question by terminal, JSON, MCP, the page, and Loki where it can be said there, gives the same records."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import httpx2
import re2
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from typer.testing import CliRunner

from mcp_tools import commands
from mcp_tools.app import build_query_app
from mcp_tools.loki.labels import level_of
from otel_ingest.cli.otlp_reading import otlp_trace
from storage import tokens
from storage.config import StorageConfig
from storage.control import Control
from storage.engine import read_engine, write_engine
from storage.query.tree import And, Between, Field, Is, Node, Text, conjunction, disjunction
from storage.query.writing import text_of
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.query_world import START_US, WORDS, Record, holds, log_queries, log_worlds, logs_of

EXAMPLES = 6
QUERIES = 3
BASE = "http://127.0.0.1:4319"
SINCE, UNTIL = "2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z"
_LEVELS = {"warn": 13, "error": 17, "info": 9}
# Text without letters of two cases: LogQL minds the case, a query does not.
_LINES = [w for w in WORDS if w.lower() == w.upper()]


@dataclass(frozen=True)
class Sayable:
    """A question that LogQL can say as well."""

    components: list[str]
    levels: list[str]
    line: str | None

    def query(self) -> str:
        """Return it in the query language."""
        parts: list[Node] = [disjunction(*(Field("component", Is(name)) for name in self.components))]
        if self.levels:
            bands = (Between(_LEVELS[name], _LEVELS[name] + 3) for name in self.levels)
            parts.append(disjunction(*(Field("level", band) for band in bands)))
        if self.line is not None:
            parts.append(Text((self.line,)))
        return text_of(conjunction(*parts))

    def logql(self) -> str:
        """Return it in LogQL."""
        names = json.dumps("|".join(re2.escape(name) for name in self.components), ensure_ascii=False)
        levels = f', level=~"{"|".join(self.levels)}"' if self.levels else ""
        line = f" |= {json.dumps(self.line, ensure_ascii=False)}" if self.line is not None else ""
        return f"{{component=~{names}{levels}}}{line}"

    def holds(self, record: Record) -> bool:
        """Whether it finds a record."""
        level = level_of(record.fields["level"])
        return (
            record.fields["component"] in self.components
            and (not self.levels or level in self.levels)
            and (self.line is None or self.line in (record.text[0] or ""))
        )


_sayable = st.builds(
    Sayable,
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=3, unique=True),
    st.lists(st.sampled_from(sorted(_LEVELS)), max_size=2, unique=True),
    st.none() | st.sampled_from(_LINES),
)


class Doors:
    """All doors to one store."""

    def __init__(self, url: str, engine: AsyncEngine, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._engine = engine

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[httpx2.AsyncClient, Client]]:
        """Yield an HTTP client and an MCP client of one application."""
        app = self._app()
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url=BASE, headers=self._headers) as http,
            Client(streamable_http_client(f"{BASE}/mcp", http_client=http)) as client,
        ):
            yield http, client

    def _app(self) -> Starlette:
        async def ready() -> tuple[bool, str]:
            return True, "ready"

        async def metrics() -> bytes:
            return b""

        engine = self._engine
        verify = partial(tokens.verify, engine)
        return build_query_app(
            Reader(engine), Control(engine), verify, BASE, ready, metrics, partial(otlp_trace, engine)
        )

    def terminal(self, query: str) -> list[int]:
        """Return the ids that the command prints."""

        @asynccontextmanager
        async def open_reader() -> AsyncIterator[Reader]:
            engine = read_engine(StorageConfig(self._url))
            yield Reader(engine)
            await engine.dispose()

        app = typer.Typer()
        commands.register(app, open_reader)
        arguments = ["query", "--since", SINCE, "--until", UNTIL, "-n", "1000", "--json", "--", query]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code in {0, 1}, result.output
        return [row[0] for row in json.loads(result.stdout)["rows"]]

    async def answers(self, query: str, http: httpx2.AsyncClient, client: Client) -> dict[str, list[int]]:
        """Return the ids that each door gives."""
        window = {"since": SINCE, "until": UNTIL}
        api = await http.get("/api/v1/logs", params={"query": query, "limit": "1000", **window})
        page = await http.get("/logs.json", params={"q": query, **window})
        called = await client.call_tool("logger_query", {"query": query, "limit": 1000, "max_tokens": 20_000, **window})
        assert called.structured_content is not None, called.content
        return {
            "terminal": await asyncio.to_thread(self.terminal, query),
            "json": [row[0] for row in api.json()["rows"]],
            "page": [record["id"] for record in page.json()["records"]],
            "mcp": [row[0] for row in called.structured_content["rows"]],
        }


async def _loki(http: httpx2.AsyncClient, query: str) -> list[int]:
    """Return the positions of the records that Loki's door gives, newest first."""
    window = {"start": SINCE, "end": UNTIL, "limit": "5000"}
    answer = await http.get("/loki/api/v1/query_range", params={"query": query, **window})
    assert answer.status_code == 200, answer.text
    times = [int(at) for stream in answer.json()["data"]["result"] for at, _ in stream["values"]]
    return sorted((at // 1000 - START_US for at in times), reverse=True)


async def _stored(engine: AsyncEngine, world: list[Record]) -> list[int]:
    """Store a world in an empty table; return the ids of its records."""
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE log_records, resources"))
    (outcome,) = await PostgresSink(engine).write([logs_of(world)])
    assert not outcome.rejected
    async with engine.connect() as connection:
        return list((await connection.execute(text("SELECT id FROM log_records ORDER BY time"))).scalars())


def _strangers(node: Node, known: set[str]) -> bool:
    """Whether a query demands a component that was never seen: every door refuses it, with the nearest name."""
    if isinstance(node, And):
        return any(_strangers(operand, known) for operand in node.operands)
    is_named = isinstance(node, Field) and node.name == "component" and isinstance(node.test, Is)
    return is_named and node.test.text not in known  # type: ignore[union-attr]


async def _agree(
    doors: Doors, engine: AsyncEngine, world: list[Record], nodes: list[Node], sayable: list[Sayable]
) -> int:
    """Compare all doors over one world; return how many records were found."""
    ids = await _stored(engine, world)
    known = {record.fields["component"] for record in world}
    found = 0
    asked = [(text_of(node), partial(holds, node)) for node in nodes if not _strangers(node, known)]
    asked += [(question.query(), question.holds) for question in sayable]
    async with doors.open() as (http, client):
        for query, finds in asked:
            expected = [ids[n] for n, record in enumerate(world) if finds(record)][::-1]
            found += len(expected)
            for door, answer in (await doors.answers(query, http, client)).items():
                assert answer == expected, (door, query)
        for question in sayable:
            # A record without a body has its event's name for a line in Loki, and no text in a query.
            wanted = [n for n, record in enumerate(world) if question.holds(_with_line(record))][::-1]
            assert await _loki(http, question.logql()) == wanted, question.logql()
    return found


def _with_line(record: Record) -> Record:
    return record if record.text[0] is not None else replace(record, text=(record.fields["event"],))


def test_all_doors_give_the_same_records(database_url: str) -> None:
    """And they are those that plain Python finds, in order."""
    runner = asyncio.Runner()
    engine = write_engine(StorageConfig(database_url))
    found = 0

    with runner:
        token, _ = runner.run(tokens.create(engine, "doors", "read"))
        doors = Doors(database_url, engine, token)

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            log_worlds.filter(bool),
            st.lists(log_queries, min_size=QUERIES, max_size=QUERIES),
            st.lists(_sayable, min_size=1, max_size=2),
        )
        def agree(world: list[Record], nodes: list[Node], sayable: list[Sayable]) -> None:
            nonlocal found
            found += runner.run(_agree(doors, engine, world, nodes, sayable))

        try:
            agree()
        finally:
            runner.run(engine.dispose())
    assert found > 0
