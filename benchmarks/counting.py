"""``make bench-counting``: what the roll-ups cost a writer: batches of 512 through the sink with and without them.

Both take turns in one run, in a random order, over one connection; compared are medians of the CPU of a batch, of this
process and PostgreSQL's. To it comes the counting itself, and to the whole the decoding (``make bench-decode``).
"""

import argparse
import asyncio
import os
import random
import statistics
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.own_store import own_store
from storage import rollups
from storage.batch import Batch
from storage.columns import LOG_RECORDS, SPANS, TelemetryTable
from storage.config import StorageConfig
from storage.engine import write_engine, writers_of
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us, span_row

RECORDS = 512
BATCHES = 25
NAMES = 12
_ATTRIBUTES = (
    b'{"http.request.method":"GET","http.route":"/api/orders/{id}","http.response.status_code":200,'
    b'"url.path":"/api/orders/1234","server.address":"shop.internal","client.address":"10.0.3.7","user.id":4711}'
)


def logs(chance: random.Random) -> Batch:
    """Return a request's worth of log records of a component."""
    now, own = now_us(), {"component": f"service-{chance.randrange(8)}", "attributes": _ATTRIBUTES}
    return batch_of([
        log_row(time=now + n, trace_id=chance.randbytes(16), severity_number=chance.choice((9, 9, 9, 5, 13, 17)), **own)
        for n in range(RECORDS)
    ])  # fmt: skip


def spans(chance: random.Random) -> Batch:
    """Return a request's worth of spans of a component: of twelve names, every third one served."""
    now, own = now_us(), {"component": f"service-{chance.randrange(8)}", "attributes": _ATTRIBUTES}
    return batch_of([
        span_row(
            time=now + n, trace_id=chance.randbytes(16), span_id=n + 1, parent_span_id=n + 7, name=f"op {n % NAMES}",
            kind=(2, 3, 1)[n % 3], status_code=chance.choice((None, None, None, 2)),
            duration_ns=int(chance.lognormvariate(16, 1)), **own,
        )
        for n in range(RECORDS)
    ], SPANS)  # fmt: skip


def _nothing(*_: Any) -> None:
    return None


def cpu_s(backend: int) -> float:
    """Return the CPU that this process and one of PostgreSQL's have used, in seconds."""
    on_cpu_ns = int(Path(f"/proc/{backend}/schedstat").read_text(encoding="ascii").split()[0])
    return time.process_time() + on_cpu_ns / 1e9


async def measure(engine: AsyncEngine, table: TelemetryTable, blocks: int) -> None:
    """Print one line of the table."""
    chance = random.Random(1)
    sink, storing = PostgresSink(engine), rollups.storing
    async with writers_of(engine).connect() as connection:
        backend = int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0)
    took: dict[bool, list[float]] = {True: [], False: []}
    make = spans if table is SPANS else logs
    for n in range(blocks + 1):
        for counted in random.Random(n).sample((True, False), 2):
            batches = [make(chance) for _ in range(BATCHES)]
            rollups.storing = storing if counted else _nothing  # type: ignore[assignment]
            began = cpu_s(backend)
            for batch in batches:
                await sink.write([batch])
            if n:  # the first ones make partitions and plans
                took[counted].append((cpu_s(backend) - began) / BATCHES * 1000)
    rollups.storing = storing
    with_them, without = (statistics.median(took[counted]) for counted in (True, False))
    print(f"| {table.name} | {without:.2f} | {with_them:.2f} | {with_them - without:+.2f} |", flush=True)


async def run(blocks: int) -> None:
    """Measure against a PostgreSQL of its own."""
    async with own_store() as server:
        engine = write_engine(StorageConfig(server.url, writers=1))
        print("| a batch of 512 | without, ms | with roll-ups, ms | more, ms |\n|---|---|---|---|")
        for table in (LOG_RECORDS, SPANS):
            await measure(engine, table, blocks)
        await engine.dispose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12, help="of 25 batches, of each kind [12]")
    os.nice(5)
    asyncio.run(run(parser.parse_args().blocks))


if __name__ == "__main__":
    main()
