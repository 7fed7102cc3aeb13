"""``make bench``: committed log records a second through OTLP/HTTP and OTLP/gRPC, against raw COPY, in one run.

Every request is encoded before its clock starts. Rounds of all ways take turns; the table shows medians and the
ratio to raw COPY of the same rows into the same tables, with the same indexes and as many connections.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.decode import RECORDS_A_REQUEST, decoded, requests_of
from otel_ingest.config import Settings
from otel_ingest.signals import LOGS
from storage import embedded
from storage.batch import COPY_HEADER, COPY_TRAILER
from storage.columns import LOG_RECORDS
from tests import harness

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
HEAD = "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"


def copy_bodies(requests: list[bytes]) -> list[bytes]:
    """Return the same rows as COPY BINARY tuples, a request's worth each."""
    return [b"".join(decoded(LOGS, request).batch.rows) for request in requests]


async def send_http(address: str, requests: list[bytes], connections: int) -> None:
    """POST all requests over keep-alive connections; every answer must be a 200."""
    host, port = address.split(":")
    queue = iter(requests)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for body in queue:
            head = f"{HEAD}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in answer:
                raise RuntimeError(answer.decode())
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(connections)))


async def send_grpc(address: str, requests: list[bytes], connections: int) -> None:
    """Export all requests over one channel, ``connections`` calls at a time."""
    queue = iter(requests)
    async with grpc.aio.insecure_channel(address) as channel:
        export = channel.unary_unary(EXPORT)

        async def caller() -> None:
            for body in queue:
                if await export(body):
                    raise RuntimeError("not a full success")

        await asyncio.gather(*(caller() for _ in range(connections)))


async def copy(url: str, bodies: list[bytes], connections: int) -> None:
    """COPY the rows, 16 requests' worth a transaction."""
    columns = ", ".join(c.name for c in LOG_RECORDS.columns)
    statement = f"COPY log_records ({columns}) FROM STDIN (FORMAT BINARY)"
    chunks = iter([bodies[i : i + 16] for i in range(0, len(bodies), 16)])

    async def writer() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            for chunk in chunks:
                async with connection.cursor() as cursor, cursor.copy(statement) as target:
                    await target.write(COPY_HEADER)
                    for body in chunk:
                        await target.write(body)
                    await target.write(COPY_TRAILER)
                await connection.commit()

    await asyncio.gather(*(writer() for _ in range(connections)))


def measured(work: Callable[[], Awaitable[None]], records: int) -> float:
    """Run once; return records a second."""
    started = time.perf_counter()
    asyncio.run(work())  # type: ignore[arg-type]
    return records / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=102_400, help="records a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    requests = requests_of(options.records)
    bodies = copy_bodies(requests)
    records = len(requests) * RECORDS_A_REQUEST
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, harness.running(Path(directory) / "data") as server:
        url = embedded.connection_url(server.data_dir).replace("+psycopg", "")
        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "raw COPY, 1 connection": lambda: copy(url, bodies, 1),
            "raw COPY, 2 connections": lambda: copy(url, bodies, 2),
            f"OTLP/HTTP, {options.connections} connections": lambda: send_http(
                server.http, requests, options.connections
            ),
            f"OTLP/gRPC, {options.connections} calls at a time": lambda: send_grpc(
                server.grpc, requests, options.connections
            ),
        }
        for _ in range(options.rounds):
            for name, way in ways.items():
                with server.sql() as cursor:
                    cursor.execute("TRUNCATE log_records, request_digests_0, request_digests_1, request_digests_2")
                    cursor.execute("TRUNCATE log_counts, log_count_deltas")
                    cursor.execute("CHECKPOINT")
                results.setdefault(name, []).append(measured(way, records))
                with server.sql() as cursor:
                    stored = cursor.execute("SELECT count(*) FROM log_records").fetchone()
                if stored != (records,):
                    raise SystemExit(f"{name}: {stored} of {records} records are there")
        rss = server.rss_bytes()
    size = sum(map(len, requests)) / records
    report(
        results,
        f"{records:,} records of {size:.0f} bytes a round, {options.rounds} rounds; the server writes over "
        f"{Settings().writers} connections; its RSS {rss >> 20} MiB",
    )


def report(results: dict[str, list[float]], caption: str) -> None:
    """Print medians and ratios."""
    medians = {name: statistics.median(rates) for name, rates in results.items()}
    one, two = medians["raw COPY, 1 connection"], medians["raw COPY, 2 connections"]
    table = Table("committed log records", "per second", "lowest", "highest", "of COPY x1", "of COPY x2", box=None)
    for name, rates in results.items():
        median = medians[name]
        low, high = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
        table.add_row(name, f"{median:,.0f}", low, high, f"{median / one:.2f}", f"{median / two:.2f}")
    Console(width=110).print(table)
    print(caption)


if __name__ == "__main__":
    main()
