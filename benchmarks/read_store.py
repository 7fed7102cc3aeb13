"""The store of ``make bench-read``: log records and spans of 14 days, written by the sink as a receiver writes them.

Skewed as stores are: twelve components of which one logs a third of everything, days and nights, bursts of errors,
routes and users of which few are frequent, stack traces, identifiers that occur once, words that hardly occur at all.
It is kept in its data directory, with ``bench.json`` beside it; the same size is built once, by a process a core.
"""

import asyncio
import gc
import json
import math
import multiprocessing
import os
import random
import time
from bisect import bisect
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import accumulate, islice
from pathlib import Path

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import embedded, migrate, roles, rollups, sealing
from storage.batch import Batch
from storage.columns import LOG_RECORDS, SPANS, TelemetryTable
from storage.config import StorageConfig
from storage.encoding import row_encoder
from storage.engine import write_engine
from storage.rows import LogRow, ResourceRow, ScopeRow, SpanRow
from storage.sink import PostgresSink

DAYS = 14
DAY_US = 86_400_000_000
SPANS_A_TRACE = 8
ROWS_A_BATCH = 8_192
PARTS_MAX = 4
# Share of the records, errors in a thousand of them, instances.
COMPONENTS = {
    "gateway": (34, 4, 3), "catalog": (20, 2, 3), "checkout": (13, 8, 2), "payments": (9, 12, 2),
    "search": (7, 3, 2), "inventory": (5, 6, 2), "users": (4, 2, 1), "shipping": (3, 9, 1),
    "mail": (2, 15, 1), "recommend": (1.5, 1, 1), "fraud": (1, 5, 1), "shop/admin": (0.5, 3, 1),
}  # fmt: skip
ROUTES = [f"/api/{noun}/{{id}}" for noun in ("orders", "products", "carts", "users", "sessions", "offers")] + [
    f"/internal/{noun}" for noun in ("health", "flush", "sync", "export", "reindex", "rates")
]
BODIES = (
    "{method} {path} answered {status} in {ms} ms for customer {user}",
    "cache miss for key product:{number}, loading from the database",
    "customer {user} put {n} of product {number} into the cart",
    "connection pool: {n} of 20 in use, {ms} ms waited",
    "published event OrderChanged for order {number} to partition {n}",
    "retrying the call of the rates service, attempt {n}",
    "session of customer {user} renewed, token ends in {ms} s",
    "query took {ms} ms: SELECT * FROM products WHERE category = {n} ORDER BY rank LIMIT 50",
)
FAULT = "payment of order {number} failed: upstream answered {status} after {ms} ms"
STACK = (
    "Traceback (most recent call last):\n"
    + "".join(
        f'  File "/srv/app/{module}.py", line {37 * n + 11}, in {module}_step\n    return await self.{module}()\n'
        for n, module in enumerate(("middleware", "routing", "handlers", "service", "repository", "client", "pool") * 2)
    )
    + "TimeoutError: the pool gave no connection within {ms} ms (order {number})"
)
RARE_WORD = "zyzzyva"
"""In one record of 50,000, so in some 14 a day of 10 million in 14 days."""
RARE_ONE_IN = 50_000
USERS = 40_000
_CUMULATED = list(accumulate(share for share, _, _ in COMPONENTS.values()))
_NAMES = list(COMPONENTS)


@dataclass(frozen=True, slots=True)
class Built:
    """What is in the store: its size, its edges in microseconds since 1970, and where to look."""

    rows: int
    spans: int
    since_us: int
    until_us: int
    seconds: float


def _interned() -> tuple[dict[bytes, ResourceRow], dict[str, list[bytes]], ScopeRow]:
    """Return the resources, their ids by component, and the one scope."""
    found: dict[bytes, ResourceRow] = {}
    by_component: dict[str, list[bytes]] = {}
    for c, (name, (_, _, instances)) in enumerate(COMPONENTS.items()):
        for instance in range(instances):
            identifier = bytes([c, instance]) + b"bench-resource"
            attributes = {
                "service.name": name.rpartition("/")[2],
                "service.version": f"1.{c}.0",
                "k8s.pod.name": f"{name.rpartition('/')[2]}-7d9f{instance}",
                "deployment.environment.name": "production",
            }
            found[identifier] = ResourceRow(identifier, name, orjson.dumps(attributes), 0, "", None)
            by_component.setdefault(name, []).append(identifier)
    return found, by_component, ScopeRow(b"s" * 16, "bench", "1", b"{}", 0, "", None)


class Maker:
    """Makes the rows of whole traces in order of time, one of ``parts`` parts of them; the same seed, the same rows."""

    def __init__(self, rows: int, spans: int, until_us: int, part: int = 0, parts: int = 1) -> None:
        self.resources, self._by_component, self.scope = _interned()
        self._random = random.Random(7 + part)
        self._traces = max(1, spans // SPANS_A_TRACE)
        self._logs_a_trace = rows / self._traces
        self._until_us, self._since_us = until_us, until_us - DAYS * DAY_US
        self._here = range(self._traces * part // parts, self._traces * (part + 1) // parts)
        self.rows, self.spans = rows, spans

    def _start_of(self, trace: int) -> int:
        """Return when a trace begins: more by day than by night."""
        day = (trace + 0.5) / self._traces * DAYS
        wave = 0.1 * math.sin(2 * math.pi * day)
        return self._since_us + int(min(max(day + wave, 0.0), DAYS) * DAY_US * 0.99999)

    def traces(self) -> Iterator[tuple[list[LogRow], list[SpanRow]]]:
        """Yield the records and spans of each trace."""
        for trace in self._here:
            last = trace == self._traces - 1
            logs = (self.rows if last else round((trace + 1) * self._logs_a_trace)) - round(trace * self._logs_a_trace)
            spans = self.spans - trace * SPANS_A_TRACE if last else SPANS_A_TRACE
            yield self._trace(self._start_of(trace), logs, spans)

    def _trace(self, start: int, logs: int, spans: int) -> tuple[list[LogRow], list[SpanRow]]:
        chance = self._random
        key = chance.randbytes(16)
        picked = [_NAMES[bisect(_CUMULATED, chance.random() * _CUMULATED[-1] * 0.999999)] for _ in range(3)]
        ids = [chance.getrandbits(62) + 1 for _ in range(max(spans, 1))]
        user = int(USERS * chance.random() ** 3)
        made = [self._span(start + n * 3_000, key, picked[n % 3], ids, n, user) for n in range(spans)]
        # One record in eight is of no request.
        records = [
            self._log(start + n * 700, key if n % 8 else None, picked[n * 7 % 11 % 3], ids[n % len(ids)], user)
            for n in range(logs)
        ]
        return records, made

    def _values(self, user: int) -> dict[str, object]:
        chance = self._random
        number = chance.randrange(1_000_000)
        return {
            "method": "GET",
            "path": f"/api/orders/{number}",
            "status": 200 if chance.random() < 0.97 else 503,
            "ms": int(1 + chance.random() ** 4 * 3_000),
            "user": user,
            "number": number,
            "n": chance.randrange(20),
        }

    def _log(self, at: int, trace_id: bytes | None, component: str, span_id: int, user: int) -> LogRow:
        chance = self._random
        values = self._values(user)
        draw = chance.random() * 1000
        errors = COMPONENTS[component][1]
        severity, text = (17, "ERROR") if draw < errors else (9, "INFO")
        if severity == 9 and draw > 760:
            severity, text = (13, "WARN") if draw > 950 else (5, "DEBUG")
        body = (FAULT if severity == 17 else BODIES[int(chance.random() ** 2 * len(BODIES))]).format(**values)
        attributes: dict[str, object] = {
            "http.request.method": "GET",
            "http.route": ROUTES[int(chance.random() ** 3 * len(ROUTES))],
            "http.response.status_code": values["status"],
            "url.path": values["path"],
            "server.address": "shop.internal",
            "client.address": f"10.0.{user % 256}.7",
            "user.id": user,
            "duration_ms": float(str(values["ms"])) / 7,
        }
        if severity == 17 and chance.random() < 0.5:
            attributes["exception.type"] = "TimeoutError"
            attributes["exception.stacktrace"] = STACK.format(**values)
        if chance.randrange(RARE_ONE_IN) == 0:
            body = f"{body}; note {RARE_WORD}-{values['number']}"
        resources = self._by_component[component]
        return LogRow(
            at, at * 1000, at * 1000 + 900, resources[user % len(resources)], self.scope.id, severity, 1, 0, 1,
            component, text, "", orjson.dumps(attributes), trace_id, span_id if trace_id else None, body, None,
        )  # fmt: skip

    def _span(self, at: int, trace_id: bytes, component: str, ids: list[int], n: int, user: int) -> SpanRow:
        chance = self._random
        duration = int(200_000 + chance.random() ** 6 * 4e9)
        failed = chance.random() * 1000 < COMPONENTS[component][1] * 2
        route = ROUTES[int(chance.random() ** 3 * len(ROUTES))]
        attributes = {
            "http.request.method": "GET",
            "http.route": route,
            "http.response.status_code": 503 if failed else 200,
            "server.address": "shop.internal",
            "user.id": user,
        }
        resources = self._by_component[component]
        return SpanRow(
            at, at * 1000, at * 1000 + duration, duration, resources[user % len(resources)], self.scope.id,
            2 if n == 0 else 3, 1, 0, 0, 0, component, f"GET {route}", "", "upstream timed out" if failed else "",
            orjson.dumps(attributes), trace_id, ids[n], ids[(n - 1) // 2] if n else None, 2 if failed else None,
            None, None, None,
        )  # fmt: skip


def _batch(maker: Maker, table: TelemetryTable, rows: list[LogRow] | list[SpanRow]) -> Batch:
    encode = row_encoder(table)
    batch = Batch(table, resources=dict(maker.resources), scopes={maker.scope.id: maker.scope})
    for row in rows:
        batch.add(row, encode(row))
    return batch


def _batches(maker: Maker) -> Iterator[Batch]:
    traces = maker.traces()
    while some := list(islice(traces, ROWS_A_BATCH // max(8, round(maker.rows / maker._traces)))):  # noqa: SLF001
        yield _batch(maker, LOG_RECORDS, sorted((r for logs, _ in some for r in logs), key=lambda r: r.time))
        yield _batch(maker, SPANS, sorted((s for _, spans in some for s in spans), key=lambda s: s.time))


async def _write(sink: PostgresSink, maker: Maker) -> None:
    """Make and write; the next batch is made while PostgreSQL stores the last one."""
    source = _batches(maker)
    written = 0
    pending: asyncio.Task[object] | None = None
    while (batch := await asyncio.to_thread(next, source, None)) is not None:
        if pending is not None:
            await pending
        pending = asyncio.create_task(sink.write([batch]))
        if batch.table is LOG_RECORDS:
            written += len(batch.rows)
            if written // 500_000 > (written - len(batch.rows)) // 500_000:
                print(f"{written:,} log records, of one part", flush=True)
    if pending is not None:
        await pending


def _write_part(url: str, rows: int, spans: int, until_us: int, part: int, parts: int) -> None:
    """Write some of the days, in a process of its own."""

    async def work() -> None:
        engine = write_engine(StorageConfig(url))
        try:
            await _write(PostgresSink(engine), Maker(rows, spans, until_us, part, parts))
        finally:
            await engine.dispose()

    gc.freeze()
    gc.disable()
    asyncio.run(work())


async def _write_all(url: str, rows: int, spans: int, until_us: int) -> None:
    """Write all days, some in each of as many processes as there are cores: making rows is Python's time."""
    parts = min(os.cpu_count() or 1, PARTS_MAX)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(parts, multiprocessing.get_context("spawn")) as processes:
        await asyncio.gather(
            *(loop.run_in_executor(processes, _write_part, url, rows, spans, until_us, n, parts) for n in range(parts))
        )


async def prepare(url: str, data_dir: Path) -> None:
    """Bring the schema to its head and give the roles their passwords, as ``up`` does."""
    await migrate.upgrade(url)
    passwords = {role: embedded.role_password(data_dir, role) for role in (roles.WRITER, roles.READER)}
    await roles.grant(url, passwords)


async def _upkeep(engine: AsyncEngine) -> None:
    """Do at once what upkeep and autovacuum do while days go by."""
    await rollups.compact(engine)
    for done in await sealing.apply(engine, datetime.now(UTC), 24 * 3600.0):
        print(f"indexed {done.step.name} {done.failed}", flush=True)
    async with engine.connect() as raw:
        connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SET statement_timeout = 0"))
        await connection.execute(text("VACUUM (ANALYZE) log_records, spans, log_counts, span_counts, resources"))
        await connection.invalidate()


async def build(url: str, directory: Path, rows: int, spans: int) -> Built:
    """Fill an empty store and write down what is in it."""
    engine = write_engine(StorageConfig(url))
    until_us = time.time_ns() // 1000
    began = time.perf_counter()
    try:
        await _write_all(url, rows, spans, until_us)
        took = round(time.perf_counter() - began, 1)
        await _upkeep(engine)
    finally:
        await engine.dispose()
    built = Built(rows, spans, until_us - DAYS * DAY_US, until_us, took)
    (directory / "bench.json").write_text(json.dumps(asdict(built)) + "\n")
    return built


@asynccontextmanager
async def opened(directory: Path, rows: int, spans: int) -> AsyncIterator[tuple[str, Built]]:
    """Start PostgreSQL below ``directory``, build the store where it is not there yet; yield the owner's URL."""
    server = await embedded.start(directory)
    try:
        await prepare(server.url, directory)
        note = directory / "bench.json"
        if note.exists():
            built = Built(**json.loads(note.read_text()))
            if (built.rows, built.spans) != (rows, spans):
                raise SystemExit(
                    f"{directory} holds {built.rows:,} records and {built.spans:,} spans; name another --data-dir, "
                    f"or ask for --rows {built.rows} --spans {built.spans}"
                )
        else:
            print(f"building {rows:,} records and {spans:,} spans below {directory} …", flush=True)
            built = await build(server.url, directory, rows, spans)
        yield server.url, built
    finally:
        await server.stop()
