"""``make bench``: what the write side commits, beside raw COPY of the same rows by as many connections, in one run.

Requests are encoded before, the load generator is a process of its own (``benchmarks.load``), rounds of all ways take
turns, and the table shows medians, ratios, and the CPU that a record took of the server, of PostgreSQL and of the
generator. Then small requests, latency, and what receiving costs without a store.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from benchmarks.decode import RECORDS_A_REQUEST, decoded, requests_of, spans_of
from benchmarks.figures import percentile
from benchmarks.load import Generator, Measured, Transport, framed
from benchmarks.processes import cpu_of, postmaster_of, usage_of
from otel_ingest.config import Settings
from otel_ingest.signals import LOGS, TRACES, Signal
from storage import embedded
from storage.batch import COPY_HEADER, COPY_TRAILER
from storage.models import metadata
from tests import harness

_COPY_REQUESTS = 16  # a transaction of raw COPY
_SMALL, _SMALL_CONNECTIONS = 8_000, 200
# What a round leaves: records, what is counted of them, and that their requests are known.
_ROUND = re.compile(r"log_records|spans|(log|span)_.*|request_digests_.*")
_EMPTY = ", ".join(name for name in metadata.tables if _ROUND.fullmatch(name))


@dataclass(slots=True)
class Way:
    """What was measured of one way, a value a round; CPU in microseconds a record."""

    records: int
    rates: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    postgres_us: list[float] = field(default_factory=list)
    generator_us: list[float] = field(default_factory=list)

    def note(self, seconds: float, server_s: float, postgres_s: float, generator_s: float) -> None:
        """Add a round."""
        self.rates.append(self.records / seconds)
        self.server_us.append(server_s / self.records * 1e6)
        self.postgres_us.append(postgres_s / self.records * 1e6)
        self.generator_us.append(generator_s / self.records * 1e6)


@dataclass(slots=True)
class Bench:
    """A running server and what is sent to it."""

    server: harness.Server
    generator: Generator
    bodies: dict[str, list[bytes]]
    ways: dict[str, Way] = field(default_factory=dict)

    def postgres_s(self) -> float:
        """Return CPU seconds of PostgreSQL so far."""
        return usage_of(postmaster_of(self.server.data_dir / "postgres")).cpu_s

    def empty(self) -> None:
        """Begin a round with empty tables."""
        with self.server.sql() as cursor:
            cursor.execute(f"TRUNCATE {_EMPTY}")  # type: ignore[arg-type]
            cursor.execute("CHECKPOINT")

    def stored(self, table: str) -> int:
        """Return how many rows are there."""
        with self.server.sql() as cursor:
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
            return int(str((cursor.fetchone() or (0,))[0]))

    def copy(self, name: str, signal: Signal, connections: int) -> None:
        """Measure raw COPY."""
        bodies = self.bodies[signal.name]
        way = self.ways.setdefault(name, Way(len(bodies) * RECORDS_A_REQUEST))
        url = embedded.connection_url(self.server.data_dir).replace("+psycopg", "")
        self.empty()
        before = self.postgres_s()
        started = asyncio.run(copy(url, signal, bodies, connections))
        way.note(started.seconds, 0.0, self.postgres_s() - before, started.cpu_s)

    def export(self, name: str, signal: Signal, transport: Transport, connections: int) -> None:
        """Measure exports; all must be there afterwards."""
        way = self.ways.setdefault(name, Way(len(self.bodies[signal.name]) * RECORDS_A_REQUEST))
        address = self.server.http if transport == "http" else self.server.grpc
        self.empty()
        postgres, server = self.postgres_s(), cpu_of(self.server.process.pid)
        run = self.generator.drive(address, transport, f"{signal.name} {transport}", connections)
        way.note(run.seconds, cpu_of(self.server.process.pid) - server, self.postgres_s() - postgres, run.cpu_s)
        if (found := self.stored(signal.table.name)) != way.records:
            raise SystemExit(f"{name}: {found} of {way.records} records are there")

    def small(
        self, transport: Transport, name: str, connections: int, rate: float | None = None
    ) -> tuple[Measured, float]:
        """Measure requests of a few records; return the run and the server's CPU seconds."""
        address = self.server.http if transport == "http" else self.server.grpc
        self.empty()
        before = cpu_of(self.server.process.pid)
        run = self.generator.drive(address, transport, name, connections, rate)
        return run, cpu_of(self.server.process.pid) - before


async def copy(url: str, signal: Signal, bodies: list[bytes], connections: int) -> Measured:
    """COPY the rows, 16 requests' worth a transaction."""
    columns = ", ".join(c.name for c in signal.table.columns)
    statement = f"COPY {signal.table.name} ({columns}) FROM STDIN (FORMAT BINARY)"
    chunks = iter([bodies[i : i + _COPY_REQUESTS] for i in range(0, len(bodies), _COPY_REQUESTS)])

    async def writer() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            for chunk in chunks:
                async with connection.cursor() as cursor, cursor.copy(statement) as target:  # type: ignore[arg-type]
                    await target.write(COPY_HEADER)
                    for body in chunk:
                        await target.write(body)
                    await target.write(COPY_TRAILER)
                await connection.commit()

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(connections)))
    return Measured(time.perf_counter() - started, [], time.process_time() - cpu)


def small_requests(records: int, count: int) -> list[bytes]:
    """Return ``count`` requests of a few records, each another one."""
    found = []
    for request in requests_of(count * records):
        message = LOGS.request_type.FromString(request)
        scope = message.resource_logs[0].scope_logs[0]
        each = list(scope.log_records)
        for at in range(0, len(each), records):
            del scope.log_records[:]
            scope.log_records.extend(each[at : at + records])
            found.append(message.SerializeToString())
    return found[:count]


@contextmanager
def without_store(*arguments: str) -> Iterator[tuple[str, str, int]]:
    """Yield addresses (HTTP, gRPC) and process id of a write side without a store."""
    program = [sys.executable, "-m", "benchmarks.without_store", *arguments]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        http, grpc = process.stdout.readline().split()
        yield http, grpc, process.pid
        process.stdin.close()


def committed(bench: Bench, rounds: int, senders: list[int]) -> None:
    """Measure all ways in turns and print the table."""
    writers = Settings().writers
    for _ in range(rounds):
        for signal in (LOGS, TRACES):
            bench.copy(f"{signal.record}s, raw COPY, 1 connection", signal, 1)
            bench.copy(f"{signal.record}s, raw COPY, {writers} connections", signal, writers)
            for count in senders:
                bench.export(f"{signal.record}s, OTLP/HTTP, {count} senders", signal, "http", count)
                bench.export(f"{signal.record}s, OTLP/gRPC, {count} senders", signal, "grpc", count)
    table = Table("committed, 512 a request", "a second", "of COPY x1", f"of COPY x{writers}", box=None)
    for title in ("server", "PostgreSQL", "generator"):
        table.add_column(f"{title}, µs")
    for name, way in bench.ways.items():
        kind = name.partition(",")[0]
        one = bench.ways[f"{kind}, raw COPY, 1 connection"]
        many = bench.ways[f"{kind}, raw COPY, {writers} connections"]
        # Of the same round: what slows the machine for a while slows both.
        ratios = [statistics.median(a / b for a, b in zip(way.rates, raw.rates, strict=True)) for raw in (one, many)]
        cells = [statistics.median(each) for each in (way.server_us, way.postgres_us, way.generator_us)]
        table.add_row(
            name,
            f"{statistics.median(way.rates):,.0f}",
            *(f"{r:.2f}" for r in ratios),
            *(f"{c:.1f}" for c in cells),
        )
    Console(width=120).print(table)
    print(f"the server at {bench.server.rss_bytes() >> 20} MiB resident\n")


def latencies(bench: Bench) -> None:
    """Measure small requests and one client's latency, and print the tables."""
    table = Table(
        "committed requests", "a second", "p50 ms", "p99 ms", "server CPU a request, µs", "generator CPU, µs", box=None
    )
    for records in (1, 10):
        for transport in ("http", "grpc"):
            run, cpu = bench.small(transport, f"{records} {transport}", _SMALL_CONNECTIONS)
            _row(table, f"{records} records, {transport}, {_SMALL_CONNECTIONS} connections", run, cpu)
    for transport in ("http", "grpc"):
        run, cpu = bench.small(transport, f"logs {transport}", 1)
        _row(table, f"512 records, {transport}, one client", run, cpu)
    run, cpu = bench.small("http", "1 http", _SMALL_CONNECTIONS, rate=1_000)
    _row(table, "1 record, http, 1,000 due a second", run, cpu)
    Console(width=120).print(table)
    print()


def _row(table: Table, name: str, run: Measured, cpu_s: float) -> None:
    count = len(run.latencies_s)
    table.add_row(
        name,
        f"{count / run.seconds:,.0f}",
        f"{percentile(run.latencies_s, 0.5) * 1000:.1f}",
        f"{percentile(run.latencies_s, 0.99) * 1000:.1f}",
        f"{cpu_s / count * 1e6:,.0f}",
        f"{run.cpu_s / count * 1e6:,.0f}",
    )


def receiving(generator: Generator) -> None:
    """Measure the write side without a store, and the generator by itself."""
    table = Table(
        "received and decoded, no store", "requests/s", "server CPU a request, µs", "records/s a core", box=None
    )
    cases: list[tuple[str, str, Transport, int, int]] = [
        ("parse", "512 records, to messages alone", "http", 512, 8),
        ("parse", "100 records, to messages alone", "http", 100, 8),
        ("", "512 records", "http", 512, 8),
        ("", "512 records", "grpc", 512, 8),
        ("", "100 records", "http", 100, 8),
        ("", "1 record", "http", 1, 50),
        ("", "1 record", "grpc", 1, 50),
        ("redact", "512 records, second line of redaction on", "http", 512, 8),
        ("null", "1 record, to a server that only answers", "http", 1, 50),
    ]
    for mode, title, transport, records, connections in cases:
        with without_store(*filter(None, [mode])) as (http, grpc, pid):
            name = f"logs {transport}" if records == RECORDS_A_REQUEST else f"{records} {transport}"
            address = http if transport == "http" else grpc
            generator.drive(address, transport, name, connections)
            before = cpu_of(pid)
            run = generator.drive(address, transport, name, connections)
            each = (cpu_of(pid) - before) / len(run.latencies_s) * 1e6
            rate = len(run.latencies_s) / run.seconds
            table.add_row(f"{title}, {transport}", f"{rate:,.0f}", f"{each:,.0f}", f"{records / each * 1e6:,.0f}")
    Console(width=120).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=102_400, help="records a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--senders", type=int, nargs="+", default=[8, 48], help="each waits for its answer")
    parser.add_argument("--only", choices=["committed", "latencies", "receiving"], help="one of the three tables")
    options = parser.parse_args()
    requests = {LOGS: requests_of(options.records)}
    requests[TRACES] = spans_of(requests[LOGS])
    named = {
        f"{s.name} {t}": [framed(r, t, s.path) for r in each] for s, each in requests.items() for t in ("http", "grpc")
    }
    for records in (1, 10, 100):
        small = small_requests(records, _SMALL // max(1, records // 10))
        named |= {f"{records} {t}": [framed(r, t) for r in small] for t in ("http", "grpc")}
    generator = Generator(named)
    try:
        if options.only != "receiving":
            bodies = {s.name: [b"".join(decoded(s, r).batch.rows) for r in each] for s, each in requests.items()}
            with (
                tempfile.TemporaryDirectory(prefix="oi-") as directory,
                harness.running(Path(directory) / "data") as server,
            ):
                bench = Bench(server, generator, bodies)
                if options.only != "latencies":
                    committed(bench, options.rounds, options.senders)
                if options.only != "committed":
                    latencies(bench)
        if options.only in {None, "receiving"}:
            receiving(generator)
    finally:
        generator.close()


if __name__ == "__main__":
    main()
