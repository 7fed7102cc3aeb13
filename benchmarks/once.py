"""``make once``: the same request to two receivers at the same moment, many times; each must be stored once.

Two write sides (decode, batcher, sink, each with its own connections) on one PostgreSQL, whose periods of digests are
so short that their boundaries fall inside the run again and again.
"""

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.own_store import own_store
from otel_ingest.errors import TransientError
from storage import partitions
from storage.config import StorageConfig, Windows
from storage.engine import AsyncEngine, write_engine
from tests.factories import log_record, logs_request
from tests.once import WriteSide, write_side

NOTHING_TWICE = """
SELECT count(*) AS records, count(DISTINCT body) AS requests,
       (SELECT count(*) FROM (SELECT body FROM log_records GROUP BY body HAVING count(*) > 1) AS d) AS doubled
FROM log_records
"""


@dataclass
class Run:
    """What was asked for, and what was answered."""

    requests: int
    in_flight: int
    period_s: float
    answers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    stored: tuple[int, ...] = ()

    @property
    def good(self) -> bool:
        """Whether each request is there, once, and one of the two was told so."""
        return self.stored == (self.requests, self.requests, 0) and self.answers == Counter(
            {"stored": self.requests, "stored before": self.requests}
        )


async def race(url: str, run: Run) -> None:
    """Send each request to both receivers at once, ``in_flight`` requests at a time."""
    windows = Windows(unnamed_s=run.period_s, unnamed_period_s=run.period_s)
    engines = [write_engine(StorageConfig(url)) for _ in range(2)]
    await partitions.maintain(engines[0], datetime.now(UTC), ahead=1)
    sides = [write_side(engine, windows) for engine in engines]
    numbers = iter(range(run.requests))

    async def one(side: WriteSide, body: bytes) -> None:
        while True:
            try:
                result = await side.export(body)
            except TransientError:
                run.answers["refused, sent again"] += 1
                continue
            run.answers["stored before" if "stored once" in result.message else "stored"] += 1
            return

    async def lane() -> None:
        for number in numbers:
            body = logs_request([log_record(body={"string_value": f"request {number}"})]).SerializeToString()
            await asyncio.gather(*(one(side, body) for side in sides))

    started = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(run.in_flight)))
    run.seconds = time.perf_counter() - started
    for side in sides:
        await side.close()
    run.stored = await _count(engines[0])
    for engine in engines:
        await engine.dispose()


async def _count(engine: AsyncEngine) -> tuple[int, ...]:
    async with engine.connect() as connection:
        return tuple((await connection.execute(text(NOTHING_TWICE))).one())


async def measure(run: Run) -> None:
    """Run on a PostgreSQL of its own."""
    async with own_store() as server:
        await race(server.url, run)


def main() -> None:
    """Measure and print; exit 1 where a request is missing or there twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--period", type=float, default=2.0, help="seconds of a period of digests; production: 3600")
    options = parser.parse_args()
    run = Run(options.requests, options.in_flight, options.period)
    asyncio.run(measure(run))
    records, requests, doubled = run.stored
    table = Table("what", "number", box=None)
    for name, value in (
        ("requests, each sent to both receivers at once", f"{run.requests:,}"),
        ("boundaries between periods inside the run", f"{int(run.seconds / run.period_s):,}"),
        ("requests in PostgreSQL", f"{requests:,}"),
        ("records in PostgreSQL", f"{records:,}"),
        ("requests stored twice", f"{doubled:,}"),
        *((f"answers: {name}", f"{count:,}") for name, count in sorted(run.answers.items())),
        ("requests a second", f"{run.requests / run.seconds:,.0f}"),
    ):
        table.add_row(name, value)
    Console(width=100).print(table)
    if not run.good:
        raise SystemExit("NOT once")


if __name__ == "__main__":
    main()
