"""``make bench-flat``: whether a record costs the same with 50 million stored as with one: rate and CPU by the million.

All go to the partitions of today; ids are other ones each time, so that their index grows as it would.
"""

import argparse
import os
import re
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.decode import RECORDS_A_REQUEST, requests_of
from benchmarks.load import drive, framed
from benchmarks.processes import cpu_of, postmaster_of, usage_of
from tests import harness

_TRACE_ID = re.compile(rb"J\x10(.{16})R\x08", re.DOTALL)  # fields 9 and 10 of a LogRecord, as they are encoded
_CONNECTIONS = 8


def with_other_ids(request: bytes) -> bytes:
    """Return a request with every trace and span id another one; neighbours that shared one still do."""
    fresh: dict[bytes, bytes] = {}
    parts, last = [], 0
    for match in _TRACE_ID.finditer(request):
        new = fresh.setdefault(match[1], os.urandom(16))
        parts += [request[last : match.start(1)], new, b"R\x08", os.urandom(8)]
        last = match.end() + 8
    return b"".join([*parts, request[last:]])


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
                sent = [framed(with_other_ids(r), "http") for r in requests]
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
