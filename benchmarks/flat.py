"""``make bench-flat``: whether a record costs the same with 50 million stored as with less than one.

A machine's speed changes by a third within minutes, so two servers run: one keeps all, the other is emptied at each
second million, and they take turns every second. The ratio of what a record costs in both is of the same minute.

All go to the partitions of today. They come as they would: in the order of time, with other ids each time. (The same
times once more would go to the middle of each index, and not to its end.) What PostgreSQL did for them is told beside
it: bytes of its log, pages put there whole (the first change after each checkpoint), pages read into its memory.
"""

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.decode import RECORDS_A_REQUEST, requests_of
from benchmarks.load import drive, framed
from benchmarks.processes import cpu_of, postmaster_of, usage_of
from otel_ingest.signals import LOGS
from tests import harness

_CONNECTIONS = 8
_NS_APART = 10_000  # of a hundred thousand records a second
_PARTS = 10  # of a million: each is made, then sent; half as many records go to the small store

_COUNTS = """
SELECT wal_bytes, wal_fpi, (SELECT coalesce(sum(reads), 0) FROM pg_stat_io WHERE object = 'relation') FROM pg_stat_wal
"""
_SIZES = """
SELECT c.relname, pg_table_size(c.oid) FROM pg_class AS c JOIN pg_stat_user_tables AS s
ON s.relid = c.oid OR s.relid = (SELECT indrelid FROM pg_index WHERE indexrelid = c.oid)
WHERE s.relname LIKE 'log_records_p%' AND s.n_tup_ins > 0 ORDER BY 2 DESC
"""
_HEADS = ("stored before", "records/s", "server, µs", "PostgreSQL, µs", "of small", "log, bytes", "whole", "read")


# Of CPU seconds to µs, of bytes, of pages to those of a thousand records.
_SCALES = (1e6, 1e6, 1, 1e3, 1e3)


class Used(NamedTuple):
    """What was used: CPU of the server and of PostgreSQL, and what that one counted.

    In all, in seconds, bytes and pages; or of a record, in µs and bytes, and pages of a thousand.
    """

    server: float
    postgres: float
    wal_bytes: float
    pages_whole: float
    pages_read: float

    def a_record(self, before: "Used", records: int) -> "Used":
        """Return what each of ``records`` has used since ``before``."""
        return Used(*((now - then) / records * scale for now, then, scale in zip(self, before, _SCALES, strict=True)))


@dataclass(slots=True)
class Store:
    """A server, and what it has used when it was last looked at."""

    server: harness.Server
    used: Used
    records: int = 0

    @classmethod
    def of(cls, server: harness.Server) -> "Store":
        """Look for the first time."""
        return cls(server, _used(server))

    def send(self, requests: list[bytes]) -> float:
        """Store records as they would come now; return how many a second."""
        since_ns, step_ns = time.time_ns(), RECORDS_A_REQUEST * _NS_APART
        sent = [framed(later(r, since_ns + n * step_ns), "http") for n, r in enumerate(requests)]
        self.records += len(sent) * RECORDS_A_REQUEST
        return len(sent) * RECORDS_A_REQUEST / drive(self.server.http, "http", sent, _CONNECTIONS).seconds

    def cost(self) -> Used:
        """Return what a record took since this was asked for last."""
        before, self.used = self.used, _used(self.server)
        records, self.records = self.records, 0
        return self.used.a_record(before, records)

    def empty(self) -> None:
        """Forget all records."""
        with self.server.sql() as cursor:
            cursor.execute("TRUNCATE log_records")

    def sizes(self) -> list[tuple[str, int]]:
        """Return the bytes of the table and of each index."""
        with self.server.sql() as cursor:
            return [(str(name), int(str(size))) for name, size in cursor.execute(_SIZES).fetchall()]


def _used(server: harness.Server) -> Used:
    with server.sql() as cursor:
        row = cursor.execute(_COUNTS).fetchone()
    assert row is not None
    postgres_s = usage_of(postmaster_of(server.data_dir / "postgres")).cpu_s
    return Used(cpu_of(server.process.pid), postgres_s, *(float(str(count)) for count in row))


def later(request: bytes, begin_ns: int) -> bytes:
    """Return a request whose records begin at another time, with ids of their own; who shared a trace still does."""
    message = LOGS.request_type.FromString(request)
    fresh: dict[bytes, bytes] = {}
    for n, record in enumerate(message.resource_logs[0].scope_logs[0].log_records):
        record.time_unix_nano = record.observed_time_unix_nano = begin_ns + n * _NS_APART
        record.trace_id = fresh.setdefault(record.trace_id, os.urandom(16)) if record.trace_id else b""
        record.span_id = os.urandom(8) if record.span_id else b""
    return bytes(message.SerializeToString())


def measure(large: Store, small: Store, millions: int) -> None:
    """Store, and print."""
    requests = requests_of(1_000_000 // _PARTS)
    table, ratios = Table(*_HEADS, box=None, caption="CPU and log of a record, pages of a thousand"), []
    for number in range(millions):
        rates = []
        for _ in range(_PARTS):
            rates.append(large.send(requests))
            small.send(requests[: len(requests) // 2])
        cost, beside = large.cost(), small.cost()
        ratios.append((cost.server + cost.postgres) / (beside.server + beside.postgres))
        server, postgres, *counted = (f"{each:,.1f}" for each in cost)
        table.add_row(
            f"{number * _PARTS * len(requests) * RECORDS_A_REQUEST / 1e6:.0f} million",
            f"{statistics.median(rates):,.0f}",
            *(server, postgres, f"{ratios[-1]:.2f}", *counted),
        )
        if number % 2:
            small.empty()
        print(f"\r{number + 1} of {millions} million", end="", flush=True)
    print()
    console = Console(width=100)
    console.print(table)
    for name, size in large.sizes():
        console.print(f"{name}: {size / 2**20:,.0f} MiB")
    fifth = max(1, millions // 5)
    for name, part in (("first", ratios[:fifth]), ("last", ratios[-fifth:])):
        mean, middle = statistics.fmean(part), statistics.median(part)
        print(f"CPU a record against a small store's, the {name} fifth: {mean:.2f} (median {middle:.2f})")


def main() -> None:
    """Measure with two servers of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=int, default=50)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="oi-") as directory,
        harness.running(Path(directory) / "large") as large,
        harness.running(Path(directory) / "small") as small,
    ):
        measure(Store.of(large), Store.of(small), options.millions)


if __name__ == "__main__":
    main()
