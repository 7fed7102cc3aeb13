"""``make volume``: log records and spans by the stock OpenTelemetry SDK exporters from 4 processes, counted after.

Two processes send by gRPC, two by HTTP. When an export call returned, its last record is asked for through MCP.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests import harness

PROCESSES = 4
BATCH = 512
CHECK_EVERY = 100


def exporters(transport: str, server: dict[str, str]) -> tuple[Any, Any]:
    """Return the stock log and span exporters of a transport."""
    if transport == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        endpoint = f"http://{server['grpc']}"
        return OTLPLogExporter(endpoint, insecure=True), OTLPSpanExporter(endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter

    base = f"http://{server['http']}"
    return HttpLogExporter(f"{base}/v1/logs"), HttpSpanExporter(f"{base}/v1/traces")


def log_batch(worker: int, first: int, count: int) -> list[Any]:
    """Return SDK log records that name worker and number."""
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource

    resource = Resource({"service.name": f"volume-{worker}"})
    return [
        ReadableLogRecord(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=f"record {worker}-{n}",
                attributes={"worker": worker, "number": n, "route": "/api/orders"},
            ),
            resource,
        )
        for n in range(first, first + count)
    ]


def span_batch(worker: int, first: int, count: int) -> list[Any]:
    """Return ended SDK spans."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    resource = Resource({"service.name": f"volume-{worker}"})
    now = time.time_ns()
    return [
        ReadableSpan(
            f"span {n % 50}",
            context=SpanContext((worker + 1) << 64 | n + 1, n + 1, is_remote=False),
            resource=resource,
            attributes={"number": n},
            start_time=now,
            end_time=now + 1_000_000,
        )
        for n in range(first, first + count)
    ]


async def readable(server: dict[str, str], text: str, component: str) -> bool:
    """Ask MCP for one record."""
    headers = {"Authorization": f"Bearer {server['token']}"}
    url = f"http://{server['query']}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        arguments = {"component": component, "attributes": {"number": int(text.rpartition("-")[2])}, "limit": 1}
        answer = await client.call_tool("logger_query", arguments)
        return bool((answer.structured_content or {}).get("returned"))


def send(worker: int, server: dict[str, str], logs: int, spans: int) -> int:
    """Send one process's share; return how many samples could not be read right after their export returned."""
    log_exporter, span_exporter = exporters("grpc" if worker % 2 else "http", server)
    unreadable = 0
    for round_, first in enumerate(range(0, logs, BATCH)):
        count = min(BATCH, logs - first)
        if log_exporter.export(log_batch(worker, first, count)).name != "SUCCESS":
            raise SystemExit("an export of logs failed")
        if round_ % CHECK_EVERY == 0:
            text = f"record {worker}-{first + count - 1}"
            unreadable += not asyncio.run(readable(server, text, f"volume-{worker}"))
    for first in range(0, spans, BATCH):
        if span_exporter.export(span_batch(worker, first, min(BATCH, spans - first))).name != "SUCCESS":
            raise SystemExit("an export of spans failed")
    log_exporter.shutdown()
    span_exporter.shutdown()
    return unreadable


def main() -> int:
    """Send, count, compare, print; return 1 when a count differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=1_000_000)
    parser.add_argument("--spans", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, harness.running(Path(directory) / "data") as server:
        address = {"grpc": server.grpc, "http": server.http, "query": server.query, "token": server.token()}
        share = [(w, address, options.logs // PROCESSES, options.spans // PROCESSES) for w in range(PROCESSES)]
        started = time.perf_counter()
        with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
            unreadable = sum(pool.starmap(send, share))
        took = time.perf_counter() - started
        with server.sql() as cursor:
            logs = cursor.execute("SELECT count(*), count(DISTINCT (component, body)) FROM log_records").fetchone()
            spans = cursor.execute("SELECT count(*), count(DISTINCT (trace_id, span_id)) FROM spans").fetchone()
        server.assert_balanced()
        ledger, rss = server.ledger(), server.rss_bytes()
    print(f"sent    {options.logs} log records, {options.spans} spans in {took:.1f} s by {PROCESSES} SDK processes")
    print(f"stored  {logs} log records (all, distinct), {spans} spans (all, distinct)")
    print(f"not readable through MCP when their export had returned: {unreadable}")
    print(f"ledger  {ledger}; server RSS {rss >> 20} MiB")
    same = logs == (options.logs,) * 2 and spans == (options.spans,) * 2 and not unreadable
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
