"""``make digests``: what storing each request once costs: the whole way of a request with its key and without.

Rounds of both take turns in one process, on one PostgreSQL; medians. What is counted is processor time, of the server
and of PostgreSQL, which says the same on a busy machine. Bytes are those of the digest table and its index.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.decode import requests_of
from benchmarks.own_store import own_store
from benchmarks.processes import postmaster_of
from otel_ingest import ingest
from storage import partitions
from storage.config import StorageConfig, Windows
from storage.engine import AsyncEngine, write_engine
from storage.keys import request_key
from tests.factories import log_record, logs_request
from tests.once import write_side

_serial = itertools.count()
# Without a key; in the three quarters of a period in which a key is claimed once; in the first, where it is twice.
_CALM = Windows(unnamed_s=900, unnamed_period_s=1e9)
_WAYS = ((True, _CALM), (False, _CALM), (False, Windows(unnamed_s=3600, unnamed_period_s=3600)))
SIZE = """
SELECT sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)) FROM pg_class c WHERE relname LIKE 'request_digests__'
"""
EMPTY = "TRUNCATE log_records, request_digests_0, request_digests_1, request_digests_2"


async def no_key(*_: object) -> None:
    """Stand in for ``ingest._key``: a request that nobody knows again."""


def small(count: int) -> list[bytes]:
    """Return requests of one record."""
    return [
        logs_request([log_record(body={"string_value": f"request {next(_serial)}"})]).SerializeToString()
        for _ in range(count)
    ]


def cpu_s(postmaster: int) -> float:
    """Return the processor seconds of this process and of PostgreSQL with all its children."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


async def sent(engine: AsyncEngine, bodies: list[bytes], in_flight: int, postmaster: int, windows: Windows) -> float:
    """Return the processor microseconds a request of one round."""
    side = write_side(engine, windows)
    queue = iter(bodies)

    async def lane() -> None:
        for body in queue:
            result = await side.export(body)
            assert not result.message, result

    started = cpu_s(postmaster)
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    seconds = cpu_s(postmaster) - started
    await side.close()
    return seconds / len(bodies) * 1e6


@asynccontextmanager
async def store() -> AsyncIterator[tuple[AsyncEngine, int]]:
    """Yield a write engine on a PostgreSQL of its own, and the process id of that."""
    async with own_store() as server:
        engine = write_engine(StorageConfig(server.url))
        await partitions.maintain(engine, datetime.now(UTC), ahead=1)
        yield engine, postmaster_of(server.cluster.pgdata)
        await engine.dispose()


async def compare(
    engine: AsyncEngine, make: Callable[[], list[bytes]], rounds: int, in_flight: int, postmaster: int
) -> tuple[list[list[float]], list[float]]:
    """Return the times of each way, round by round, and the bytes a request of each."""
    times: list[list[float]] = [[] for _ in _WAYS]
    sizes = [0.0 for _ in _WAYS]
    bodies = make()
    for _ in range(rounds):
        for way, (patched, windows) in enumerate(_WAYS):
            async with engine.begin() as connection:
                await connection.execute(text(EMPTY))
            with mock.patch.object(ingest, "_key", no_key) if patched else mock.MagicMock():
                times[way].append(await sent(engine, bodies, in_flight, postmaster, windows))
            async with engine.connect() as connection:
                sizes[way] = float(sum((await connection.execute(text(SIZE))).one())) / len(bodies)
    return times, sizes


def hashing() -> str:
    """Return how fast keys are made."""
    body = bytes(180_000)
    started = time.process_time()
    for _ in range(200):
        request_key("logs", body)
    return f"{(time.process_time() - started) / 200 * 1e6:.0f} µs for the key of 180,000 bytes"


async def measure(rounds: int) -> None:
    """Measure and print."""
    table = Table("records a request", "CPU µs without", "with", "cost", "bytes", "twice", "cost", "bytes", box=None)
    work: list[tuple[str, Callable[[], list[bytes]], int]] = [
        ("512", lambda: requests_of(51_200), 8),
        ("1, 256 in flight", lambda: small(8_000), 256),
        ("1, one after the other", lambda: small(500), 1),
    ]
    async with store() as (engine, postmaster):
        for name, make, in_flight in work:
            (without, *others), (_, *sizes) = await compare(engine, make, rounds, in_flight, postmaster)
            row = [name, f"{statistics.median(without):,.0f}"]
            for times, size in zip(others, sizes, strict=True):
                cost = statistics.median(b / a - 1 for a, b in zip(without, times, strict=True))
                row += [f"{statistics.median(times):,.0f}", f"{cost:.1%}", f"{size:.0f}"]
            table.add_row(*row)
    Console(width=100).print(table)
    print(hashing())


def main() -> None:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    work: Awaitable[Any] = measure(parser.parse_args().rounds)
    asyncio.run(work)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
