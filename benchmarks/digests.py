"""``make digests``: what storing each request once costs: the whole way of a request with its key and without.

Rounds of both take turns in one process, on one PostgreSQL; medians. Bytes are those of the digest table and its index.
"""

import argparse
import asyncio
import itertools
import shutil
import statistics
import tempfile
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

from benchmarks.bench import requests_of
from otel_ingest import ingest
from storage import embedded, migrate, partitions
from storage.config import StorageConfig
from storage.engine import AsyncEngine, write_engine
from storage.keys import request_key
from tests.factories import log_record, logs_request
from tests.once import write_side

_serial = itertools.count()
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


async def sent(engine: AsyncEngine, bodies: list[bytes], in_flight: int) -> float:
    """Return the requests a second of one round."""
    side = write_side(engine)
    queue = iter(bodies)

    async def lane() -> None:
        for body in queue:
            result = await side.export(body)
            assert not result.message, result

    started = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    seconds = time.perf_counter() - started
    await side.close()
    return len(bodies) / seconds


@asynccontextmanager
async def store() -> AsyncIterator[AsyncEngine]:
    """Yield a write engine on a PostgreSQL of its own."""
    data_dir = Path(tempfile.mkdtemp(prefix="oi-"))
    server = await embedded.start(data_dir)
    try:
        await migrate.upgrade(server.url)
        engine = write_engine(StorageConfig(server.url))
        await partitions.maintain(engine, datetime.now(UTC), ahead=1)
        yield engine
        await engine.dispose()
    finally:
        await server.stop()
        shutil.rmtree(server.cluster.pgdata.resolve().parent, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)


async def compare(
    engine: AsyncEngine, make: Callable[[], list[bytes]], rounds: int, in_flight: int
) -> tuple[list[float], list[float], float]:
    """Return the rates without and with keys, round by round, and the bytes a request of the last round with."""
    without, with_keys, size = [], [], 0.0
    bodies = make()
    for _ in range(rounds):
        for rates, patched in ((without, True), (with_keys, False)):
            async with engine.begin() as connection:
                await connection.execute(text(EMPTY))
            with mock.patch.object(ingest, "_key", no_key) if patched else mock.MagicMock():
                rates.append(await sent(engine, bodies, in_flight))
        async with engine.connect() as connection:
            size = sum((await connection.execute(text(SIZE))).one()) / len(bodies)
    return without, with_keys, float(size)


def hashing() -> str:
    """Return how fast keys are made."""
    body = bytes(180_000)
    started = time.perf_counter()
    for _ in range(200):
        request_key("logs", body)
    return f"{(time.perf_counter() - started) / 200 * 1e6:.0f} µs for the key of 180,000 bytes"


async def measure(rounds: int) -> None:
    """Measure and print."""
    table = Table("records a request", "requests/s without", "with", "cost", "bytes a request", box=None)
    work: list[tuple[str, Callable[[], list[bytes]], int]] = [
        ("512", lambda: requests_of(51_200), 8),
        ("1, 256 in flight", lambda: small(8_000), 256),
        ("1, one after the other", lambda: small(500), 1),
    ]
    async with store() as engine:
        for name, make, in_flight in work:
            without, with_keys, size = await compare(engine, make, rounds, in_flight)
            one, two = statistics.median(without), statistics.median(with_keys)
            pairs = statistics.median(1 - b / a for a, b in zip(without, with_keys, strict=True))
            table.add_row(name, f"{one:,.0f}", f"{two:,.0f}", f"{pairs:.1%}", f"{size:.0f}")
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
