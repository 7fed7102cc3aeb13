"""``make bench-wal``: acknowledging after COMMIT against a write-ahead log of our own, always.

Both ways decode, keep and answer the same requests through ``Ingest``, in one process, with PostgreSQL beside it. The
second way is the spool as it is (one fsync for all that waits) in front of everything, drained all the time. Latency is
that of an answer; "stored" counts until the last record is in PostgreSQL. Ways take turns, figures are of all rounds.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from benchmarks.decode import requests_of
from otel_ingest import log
from otel_ingest.batcher import Batcher
from otel_ingest.budget import Budget
from otel_ingest.cli.compose import loop_factory
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.ingest import Ingest
from otel_ingest.limits import Limits
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.signals import LOGS
from otel_ingest.spool.drain import Drain, DrainTarget
from otel_ingest.spool.format import SpooledRequest
from otel_ingest.spool.owner import own
from otel_ingest.spool.spool import Spool
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from otel_ingest.wire import Encoding
from storage import embedded, migrate, probe, spooled
from storage.api import Outcome
from storage.batch import Batch
from storage.config import StorageConfig
from storage.engine import AsyncEngine, write_engine
from storage.sink import PostgresSink
from storage.transactions import outcome_of
from tests.factories import attributes, log_record, logs_request

GIB = 1024**3


class AlwaysSpool(Durable):
    """Where a request becomes durable by the spool alone; rows are made again when it is drained."""

    def __init__(self, batcher: Batcher, spool: Spool, engine: AsyncEngine) -> None:
        super().__init__(batcher, None, partial(outcome_of, engine))
        self._always = spool

    async def keep(self, batch: Batch, request: Callable[[tuple[str, ...]], SpooledRequest]) -> Outcome | None:
        """Return once the request is on the disk."""
        del batch
        await self._always.append(request(()))
        return None


@dataclass(slots=True)
class Figures:
    """What one way took: seconds an answer, records a second acknowledged and stored."""

    latencies_s: list[float] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)


def small_requests(count: int) -> list[bytes]:
    """Return requests of one record each, as a SimpleProcessor sends them."""
    return [
        logs_request(
            [log_record(body={"string_value": f"order {n} placed"}, attributes=attributes(n=n))]
        ).SerializeToString()
        for n in range(count)
    ]


async def send(ingest: Ingest, requests: list[bytes], senders: int, figures: Figures) -> None:
    """Export all requests, ``senders`` at a time, each waiting for its answer before the next."""
    queue = iter(requests)
    budget = Budget(4 * GIB)

    async def sender() -> None:
        for body in queue:
            began = time.perf_counter()
            await ingest.export(LOGS, body, Encoding.PROTOBUF, "http", budget.lease())
            figures.latencies_s.append(time.perf_counter() - began)

    await asyncio.gather(*(sender() for _ in range(senders)))


async def round_of(
    engine: AsyncEngine, requests: list[bytes], records: int, senders: int, figures: Figures, directory: Path | None
) -> None:
    """Run one round; ``directory``: of the log that is always written, None: acknowledge after COMMIT."""
    stats, state = ReceiverStats(CollectorRegistry()), StoreState()
    batcher = Batcher(PostgresSink(engine), stats, writers=2, queue_bytes_max=GIB, state=state)
    batcher.start()
    spool = None if directory is None else Spool(own(directory), bytes_max=8 * GIB)
    durable = Durable(batcher) if spool is None else AlwaysSpool(batcher, spool, engine)
    decoder = Decoder(Limits(), GIB)
    ingest = Ingest(durable, decoder, ComponentRates(0), stats, time.time_ns)
    draining = None
    if spool is not None:
        await spool.open()
        target = DrainTarget(
            ingest.replay, stats.lost, partial(spooled.forget, engine), partial(probe.takes_writes, engine)
        )
        draining = asyncio.create_task(Drain([spool], target, state).run())
    began = time.perf_counter()
    await send(ingest, requests, senders, figures)
    figures.acknowledged.append(records / (time.perf_counter() - began))
    while spool is not None and spool.filled:  # noqa: ASYNC110 - there is no event for empty
        await asyncio.sleep(0.01)
    figures.stored.append(records / (time.perf_counter() - began))
    if draining is not None and spool is not None:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await spool.close()
    await batcher.close(60)
    await decoder.close()


async def measure(options: argparse.Namespace, directory: Path) -> dict[tuple[str, int, str], Figures]:
    """Return figures by (load, senders, way)."""
    server = await embedded.start(directory / "data")
    engine = write_engine(StorageConfig(server.url))
    loads = {
        "512 records": (requests_of(options.records), 512),
        "1 record": (small_requests(options.small), 1),
    }
    found: dict[tuple[str, int, str], Figures] = {}
    numbers = itertools.count()
    try:
        await migrate.upgrade(server.url)
        for _ in range(options.rounds):
            for (load, (requests, size)), senders in itertools.product(loads.items(), options.senders):
                for way, place in (("COMMIT", None), ("write-ahead log", directory / f"wal{next(numbers)}")):
                    async with engine.connect() as connection:
                        await connection.exec_driver_sql(
                            "TRUNCATE log_records, request_digests_0, request_digests_1, request_digests_2"
                        )
                        await connection.commit()
                    figures = found.setdefault((load, senders, way), Figures())
                    records = len(requests) * size
                    await round_of(engine, requests, records, senders, figures, place)
                    async with engine.connect() as connection:
                        count = (await connection.exec_driver_sql("SELECT count(*) FROM log_records")).scalar_one()
                    if count != records:
                        raise SystemExit(f"{load}, {way}: {count} of {records} records are there")
    finally:
        await engine.dispose()
        await server.stop()
    return found


def report(found: dict[tuple[str, int, str], Figures]) -> None:
    """Print the table."""
    columns = ("a request", "senders", "answered after", "p50 ms", "p99 ms", "acknowledged/s", "stored/s")
    table = Table(*columns, box=None)
    for (load, senders, way), figures in found.items():
        cuts = statistics.quantiles(figures.latencies_s, n=100)
        table.add_row(
            load,
            str(senders),
            way,
            f"{cuts[49] * 1000:.1f}",
            f"{cuts[98] * 1000:.1f}",
            f"{statistics.median(figures.acknowledged):,.0f}",
            f"{statistics.median(figures.stored):,.0f}",
        )
    Console(width=110).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=51_200, help="records a round of large requests")
    parser.add_argument("--small", type=int, default=2_000, help="requests of one record a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 8, 64])
    options = parser.parse_args()
    log.configure("warning", as_json=False)
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, asyncio.Runner(loop_factory=loop_factory()) as runner:
        Path(directory).chmod(0o711)
        report(runner.run(measure(options, Path(directory))))
    print(f"rounds {options.rounds}; {os.cpu_count()} cores for senders, receiver and PostgreSQL together")


if __name__ == "__main__":
    main()
