"""What the doors for other tools take over a store of N traces: medians, in one run (make bench-doors)."""

import argparse
import asyncio
import os
import statistics
import time
from functools import partial

import httpx2
from starlette.applications import Starlette

from benchmarks.own_store import own_store
from mcp_tools.jaeger import Jaeger
from mcp_tools.loki.routes import Loki
from otel_ingest.cli.otlp_reading import otlp_trace
from storage import rollups, tokens
from storage.columns import SPANS
from storage.config import StorageConfig
from storage.engine import AsyncEngine, read_engine, write_engine
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import RESOURCE, batch_of, log_row, span_row

SERVICES = ("shop", "pay", "stock", "mail", "search")
RESOURCES = {
    name: RESOURCE._replace(
        id=name.encode().ljust(16), component=name, attributes=f'{{"service.name":"{name}"}}'.encode()
    )
    for name in SERVICES
}
SPANS_A_TRACE = 10
ROUNDS = 5
COMPACTIONS = 10  # one a minute, as a receiver does


async def fill(engine: AsyncEngine, traces: int, start_us: int, window_us: int) -> None:
    """Store ``traces`` traces of ten spans in five services, and as many log records as spans."""
    sink = PostgresSink(engine)
    batch = 1_000
    for first in range(0, traces, batch):
        spans, logs = [], []
        for n in range(first, min(first + batch, traces)):
            at, trace = start_us + window_us * n // traces, n.to_bytes(16, "big")
            for k in range(SPANS_A_TRACE):
                service = SERVICES[k // 2]
                own = {"component": service, "resource_id": RESOURCES[service].id}
                spans.append(
                    span_row(
                        time=at + k, trace_id=trace, span_id=k + 1, parent_span_id=k or None,
                        name=f"op {n % 20}", kind=2 + k % 2, status_code=2 if n % 50 == 0 else None,
                        duration_ns=1_000_000 * (1 + n % 200), **own,
                    )
                )  # fmt: skip
                logs.append(
                    log_row(time=at + k, trace_id=trace, span_id=k + 1, **own,
                            body=f"order {n} handled by {service}", severity_number=17 if n % 50 == 0 else 9)
                )  # fmt: skip
        for made in (batch_of(spans, SPANS), batch_of(logs)):
            made.resources = {row.id: row for row in RESOURCES.values()}
            await sink.write([made])


async def measure(url: str, traces: int) -> None:
    """Fill, ask, print a table."""
    writing, reading = write_engine(StorageConfig(url)), read_engine(StorageConfig(url))
    now = time.time_ns() // 1000
    hour = 3_600_000_000
    await fill(writing, traces, now - 2 * hour, 2 * hour)
    for _ in range(COMPACTIONS):
        await rollups.compact(writing)
    async with writing.connect() as connection:
        raw = await connection.get_raw_connection()
        await raw.driver_connection.set_autocommit(True)
        await raw.driver_connection.execute("ANALYZE")
    token, _ = await tokens.create(writing, "bench", "read")
    reader, verify = Reader(reading), partial(tokens.verify, writing)
    app = Starlette(
        routes=[*Jaeger(reader, partial(otlp_trace, reading), verify).routes(), *Loki(reader, verify).routes()]
    )
    loki = "/loki/api/v1/query_range"
    asked = {
        "Jaeger services": ("/api/services", {}),
        "Jaeger operations of a service": ("/api/v3/operations", {"service": "pay"}),
        "Jaeger search, 20 whole traces": ("/api/traces", {"service": "pay", "lookback": "1h"}),
        "Jaeger search by tag, an hour": (
            "/api/traces",
            {"service": "pay", "lookback": "1h", "tags": '{"error":"true"}'},
        ),
        "Jaeger one trace, OTLP": (f"/api/v3/traces/{(traces - 1):032x}", {}),
        "Jaeger dependencies, an hour": ("/api/dependencies", {"endTs": str(now // 1000), "lookback": "3600000"}),
        "Loki 1,000 lines of a label": (loki, {"query": '{component="pay"}', "limit": "1000"}),
        "Loki 100 lines with a text, an hour": (loki, {"query": '{component="pay"} |= "order 29"'}),
        "Loki counts by level, an hour by minutes": (
            loki,
            {"query": 'sum by (level) (count_over_time({component=~".+"}[1m]))', "step": "60"},
        ),
    }
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://doors", headers=headers, timeout=60
    ) as client:
        size = f"{traces * SPANS_A_TRACE:,}"
        print(f"| over {size} spans and as many log records in two hours | median | bytes |\n|---|---|---|")
        for name, (path, parameters) in asked.items():
            took = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                answer = await client.get(path, params=parameters)
                took.append(time.perf_counter() - started)
                assert answer.status_code == 200, answer.text
            print(f"| {name} | {statistics.median(took) * 1000:.0f} ms | {len(answer.content):,} |")
    await writing.dispose()
    await reading.dispose()


def main() -> None:
    """Run against a PostgreSQL of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=30_000)
    traces = parser.parse_args().traces
    os.nice(10)

    async def work() -> None:
        async with own_store() as server:
            await measure(server.url, traces)

    asyncio.run(work())


if __name__ == "__main__":
    main()
