"""`make bench-pack`, `make bench-cold`: bytes a record as rows, packed and cold, and questions over each, in one run.

Records are those of `make bench` (8 attributes, 353 bytes as sent), spread over past days; the store is the
embedded PostgreSQL with the indexes it has, and questions go through the read functions as the server asks them.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.decode import requests_of
from otel_ingest.decode import decode
from otel_ingest.limits import Limits
from otel_ingest.signals import LOGS
from otel_ingest.wire.protobuf import parse_whole
from storage import embedded, migrate
from storage.batch import Batch
from storage.cold.upkeep import freeze, to_freeze
from storage.columns import LOG_RECORDS
from storage.config import StorageConfig
from storage.encoding import row_encoder
from storage.engine import AsyncEngine, write_engine
from storage.filters import LogQuery
from storage.packing.packer import pack_partition, to_pack
from storage.reader import Reader
from storage.rows import LogRow, ResourceRow, ScopeRow
from storage.sink import PostgresSink

DAY_US = 86_400_000_000
SIZE = """
SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0) + pg_total_relation_size('packed_blocks')
FROM pg_inherits i WHERE i.inhparent = 'log_records'::regclass
"""
NOTED = "SELECT pg_total_relation_size('cold_files') + pg_total_relation_size('cold_chunks')"
Question = Callable[[Reader], Awaitable[Any]]


def batches(records: int, days: int) -> list[Batch]:
    """Return the requests of `make bench` as batches, their records evenly over ``days`` days that are over."""
    made = []
    start = (time.time_ns() // 1000 // DAY_US - days - 1) * DAY_US
    step = days * DAY_US // records
    encode, limits, n = row_encoder(LOG_RECORDS), Limits(), 0
    for request in requests_of(records):
        batch = Batch(LOG_RECORDS)
        for item in decode(LOGS, parse_whole(LOGS, request), received_ns=time.time_ns(), limits=limits):
            if isinstance(item, ResourceRow):
                batch.resources[item.id] = item
            elif isinstance(item, ScopeRow):
                batch.scopes[item.id] = item
            elif isinstance(item, LogRow):
                # Within a step, as clocks go: the low digits are nobody's counter.
                at = start + n * step + int.from_bytes(os.urandom(4), "big") % step
                ns = at * 1000 + int.from_bytes(os.urandom(2), "big") % 1000
                row = item._replace(time=at, time_unix_nano=ns)
                batch.add(row, encode(row))
                n += 1
        made.append(batch)
    return made


def size_of(url: str) -> int:
    """Return the bytes of log records, rows and blocks with their indexes, after a vacuum."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) log_records, packed_blocks")
        row = connection.execute(SIZE.encode()).fetchone()
    assert row is not None
    return int(row[0])


def questions(days: int, trace_id: str, some_id: int) -> dict[str, Question]:
    """Return what is asked of both."""
    newest_us = (time.time_ns() // 1000 // DAY_US - 1) * DAY_US
    hour = {"since_ns": (newest_us - 3_600_000_000) * 1000, "until_ns": newest_us * 1000}
    day = {"since_ns": (newest_us - DAY_US) * 1000, "until_ns": newest_us * 1000}
    return {
        "one trace": lambda r: r.trace_outline(trace_id),
        "one record by its id": lambda r: r.get_log(some_id),
        "newest 100 of a component in an hour": lambda r: r.find_logs(LogQuery(component="service-3", **hour)),
        f"newest 100 of a component in {days} days": lambda r: r.find_logs(LogQuery(component="service-3")),
        "a rare word in a day": lambda r: r.find_logs(LogQuery(text="customer 4711", **day)),
        "counts by hour and severity of a day": lambda r: r.log_counts(LogQuery(**day), ["severity"], 3600),
        "an attribute in a day": lambda r: r.find_logs(LogQuery(attributes={"url.path": "/api/orders/49999"}, **day)),
        "a window of the last hour (nothing packed)": lambda r: r.find_logs(
            LogQuery(since_ns=time.time_ns() - 3_600_000_000_000)
        ),
    }


async def timed(engine: AsyncEngine, asked: dict[str, Question], rounds: int) -> dict[str, float]:
    """Return the median of each question in ms, warm."""
    reader, found = Reader(engine), {}
    for name, question in asked.items():
        times = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            await question(reader)
            times.append((time.perf_counter() - began) * 1000)
        found[name] = statistics.median(times[1:])
    return found


async def run(records: int, days: int, rounds: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="oi-") as directory:
        server = await embedded.start(Path(directory) / "data")
        try:
            await migrate.upgrade(server.url)
            await measure(server.url, records, days, rounds, f"{directory}/cold")
        finally:
            await server.stop()


async def measure(url: str, records: int, days: int, rounds: int, location: str) -> None:
    """Fill, ask, pack, ask again, let go cold, ask again."""
    plain = url.replace("+psycopg", "")
    engine = write_engine(StorageConfig(url, cold_url=location))
    sink = PostgresSink(engine)
    for batch in batches(records, days):
        await sink.write([batch])
    with psycopg.connect(plain) as connection:
        row = connection.execute(
            "SELECT count(*), (array_agg(replace(trace_id::text, '-', '') ORDER BY id))[77], max(id) / 2 "
            "FROM log_records"
        ).fetchone()
    assert row is not None
    count, trace_id, some_id = row
    asked = questions(days, trace_id, some_id)
    sizes, took = {"rows": size_of(plain) / count}, {}
    times = {"rows": await timed(engine, asked, rounds)}
    began = time.perf_counter()
    for partition in await to_pack(engine, datetime.now(UTC), ["log_records"]):
        await pack_partition(engine, partition)
    took["packed"] = time.perf_counter() - began
    sizes["packed"] = size_of(plain) / count
    times["packed"] = await timed(engine, asked, rounds)
    began = time.perf_counter()
    found = await to_freeze(engine, datetime.now(UTC), ["log_records"])
    files = [moved async for moved in freeze(engine, location, found)]
    took["cold"] = time.perf_counter() - began
    sizes["cold"] = sum(moved.bytes for moved in files) / count
    times["cold"] = await timed(engine, asked, rounds)
    await engine.dispose()
    with psycopg.connect(plain) as connection:
        noted = connection.execute(NOTED.encode()).fetchone()
    assert noted is not None
    print(f"{count:,} records over {days} days; bytes a record: {', '.join(f'{k} {v:.1f}' for k, v in sizes.items())}")
    print(f"of cold records PostgreSQL keeps {int(noted[0]) / count:.2f} bytes each")
    print("; ".join(f"{k} in {v:.1f} s, {count / v:,.0f} records/s" for k, v in took.items()))
    table = Table("question", "rows, ms", "packed, ms", "cold, ms", "packed/rows", "cold/rows", box=None)
    for name in asked:
        each = [times[form][name] for form in ("rows", "packed", "cold")]
        ratios = [f"{each[1] / each[0]:.1f}", f"{each[2] / each[0]:.1f}"]
        table.add_row(name, *(f"{ms:.1f}" for ms in each), *ratios)
    Console(width=120).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=204_800)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    asyncio.run(run(options.records, options.days, options.rounds))
