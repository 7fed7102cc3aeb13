"""``make bench-profile``: where time goes while the server commits requests of 512 log records.

First what the write side's sessions in PostgreSQL do and wait for, sampled from ``pg_stat_activity``: one that waits
for its client inside a transaction waits for our event loop. Then a flame graph of the server, by py-spy.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.decode import requests_of
from benchmarks.load import Generator, Transport, framed
from storage import embedded
from tests import harness

_EVERY_S = 0.004
_SESSIONS = """
SELECT pid, state, coalesce(wait_event_type || '/' || wait_event, 'processor'), substring(query FROM '^\\s*(\\w+)')
FROM pg_stat_activity WHERE application_name = 'otel-ingest' AND backend_type = 'client backend'
"""


@dataclass(slots=True)
class Waits:
    """How often each session was seen at what: (where in a transaction, what it waits for)."""

    url: str
    seen: dict[int, Counter[tuple[str, str]]] = field(default_factory=dict)
    writing: set[int] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def sample(self) -> None:
        """Look every 4 ms until it is ``over``."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.over.wait(_EVERY_S):
                for pid, state, wait, verb in connection.execute(_SESSIONS, prepare=True):
                    if state == "active" and verb == "COPY":
                        self.writing.add(pid)
                    self.seen.setdefault(pid, Counter())[_place(state, verb), wait] += 1

    def print(self) -> None:
        """Print the shares of time of the sessions that were seen to COPY."""
        total = sum((self.seen[pid] for pid in self.writing), Counter[tuple[str, str]]())
        table = Table(f"{len(self.writing)} writing sessions", "waits for", "% of their time", box=None)
        for (place, wait), count in sorted(total.items(), key=lambda item: -item[1]):
            if count >= total.total() / 200:
                table.add_row(place, wait, f"{100 * count / total.total():.1f}")
        Console(width=100).print(table)


def _place(state: str, verb: str | None) -> str:
    if state == "active":
        return f"in {verb}"
    return "no transaction" if state == "idle" else f"after {verb}"


@dataclass(slots=True)
class Load:
    """Requests without end."""

    server: harness.Server
    generator: Generator
    transport: Transport
    connections: int

    def round(self) -> None:
        """Send all requests once."""
        with self.server.sql() as cursor:  # the same requests once more would be known
            cursor.execute("TRUNCATE request_digests_0, request_digests_1, request_digests_2")
        address = self.server.http if self.transport == "http" else self.server.grpc
        self.generator.drive(address, self.transport, "logs", self.connections)


def waits(load: Load, seconds: float) -> None:
    """Print what sessions wait for."""
    load.round()
    found = Waits(embedded.connection_url(load.server.data_dir).replace("+psycopg", ""))
    sampler = threading.Thread(target=found.sample)
    sampler.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        load.round()
    found.over.set()
    sampler.join()
    found.print()


def flames(load: Load, seconds: int, picture: Path) -> None:
    """Record the picture."""
    spy = Path(sys.executable).parent / "py-spy"
    program = [str(spy), "record", "--pid", str(load.server.process.pid), "--duration", str(seconds), "--rate", "250"]
    with subprocess.Popen([*program, "--native", "--output", str(picture)]) as process:
        while process.poll() is None:
            load.round()


def main() -> None:
    """Print the table and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["http", "grpc"], default="http")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--records", type=int, default=204_800)
    options = parser.parse_args()
    picture = Path(__file__).parent / "out" / f"flame-{options.transport}.svg"
    picture.parent.mkdir(exist_ok=True)
    generator = Generator({"logs": [framed(r, options.transport) for r in requests_of(options.records)]})
    try:
        with (
            tempfile.TemporaryDirectory(prefix="oi-") as directory,
            harness.running(Path(directory) / "data") as server,
        ):
            load = Load(server, generator, options.transport, options.connections)
            waits(load, options.seconds)
            flames(load, options.seconds, picture)
    finally:
        generator.close()
    print(picture)


if __name__ == "__main__":
    main()
