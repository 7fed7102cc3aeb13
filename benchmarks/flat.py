"""``make bench-flat``: whether a record costs the same with 50 million stored as with one: rate and CPU by the million.

All go to the partitions of today. They come as they would: in the order of time, with other ids each time. (The same
times once more would go to the middle of each index, and not to its end.)
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.decode import RECORDS_A_REQUEST, requests_of
from benchmarks.load import drive, framed
from benchmarks.processes import cpu_of, postmaster_of, usage_of
from otel_ingest.signals import LOGS
from tests import harness

_CONNECTIONS = 8
_NS_APART = 10_000  # of a hundred thousand records a second


def later(request: bytes, begin_ns: int) -> bytes:
    """Return a request whose records begin at another time, with ids of their own; who shared a trace still does."""
    message = LOGS.request_type.FromString(request)
    fresh: dict[bytes, bytes] = {}
    for n, record in enumerate(message.resource_logs[0].scope_logs[0].log_records):
        record.time_unix_nano = record.observed_time_unix_nano = begin_ns + n * _NS_APART
        record.trace_id = fresh.setdefault(record.trace_id, os.urandom(16)) if record.trace_id else b""
        record.span_id = os.urandom(8) if record.span_id else b""
    return bytes(message.SerializeToString())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=int, default=50)
    options = parser.parse_args()
    requests = requests_of(1_000_000 // 10)
    table = Table("stored before", "records/s", "server CPU, µs", "PostgreSQL CPU, µs", box=None)
    costs = []
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, harness.running(Path(directory) / "data") as server:
        postmaster = postmaster_of(server.data_dir / "postgres")
        for million in range(options.millions):
            rates, cpu, postgres = [], cpu_of(server.process.pid), usage_of(postmaster).cpu_s
            for _ in range(10):
                since_ns, step_ns = time.time_ns(), RECORDS_A_REQUEST * _NS_APART
                sent = [framed(later(r, since_ns + n * step_ns), "http") for n, r in enumerate(requests)]
                run = drive(server.http, "http", sent, _CONNECTIONS)
                rates.append(len(sent) * RECORDS_A_REQUEST / run.seconds)
            records = 10 * len(requests) * RECORDS_A_REQUEST
            each = [(cpu_of(server.process.pid) - cpu) / records * 1e6]
            each.append((usage_of(postmaster).cpu_s - postgres) / records * 1e6)
            costs.append(sum(each))
            table.add_row(
                f"{million * records / 1e6:.0f} million",
                f"{statistics.median(rates):,.0f}",
                *(f"{c:.1f}" for c in each),
            )
            print(f"\r{million + 1} of {options.millions} million", end="", flush=True)
    print()
    Console(width=100).print(table)
    head, tail = costs[: max(1, len(costs) // 5)], costs[-max(1, len(costs) // 5) :]
    print(f"CPU a record, the last fifth against the first: {statistics.median(tail) / statistics.median(head):.2f}")


if __name__ == "__main__":
    main()
