"""``make migrate-bench``: the schema from a former head to the newest and back, a million rows present, under writers.

The writers insert as the release of the former head did, each statement committed, before, during and after. Every
record whose COMMIT was answered is looked for by its number in the end.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory

from benchmarks.locks import LockWaits, sampled
from benchmarks.retention import FILL
from storage import embedded, migrate
from storage.partitions import partition_name

WRITERS, RECORDS = 4, 50
INSERT = """
INSERT INTO log_records (time, time_unix_nano, observed_time_unix_nano, resource_id, scope_id, severity_number, flags,
  dropped_attributes_count, body_kind, component, severity_text, event_name, attributes, body)
SELECT now(), 0, 0, gen_random_uuid(), gen_random_uuid(), 9, 0, 0, 1, 'writer', '', '', '{}', %s || '-' || n
FROM generate_series(0, %s - 1) AS n
"""


def former_head() -> str:
    """Return the revision before the newest."""
    config = Config()
    config.set_main_option("script_location", str(migrate.script_location()))
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_revision(scripts.get_current_head() or "head")
    assert newest is not None
    return str(newest.down_revision)


class Writers:
    """Threads that insert again and again; what was answered, and how long the slowest call took."""

    def __init__(self, url: str) -> None:
        self.acknowledged: list[str] = []
        self.calls: list[tuple[float, float]] = []
        self._url, self._stop, self._lock = url, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, writer: int) -> None:
        number = 0
        with psycopg.connect(self._url, autocommit=True, application_name="writer") as connection:
            while not self._stop.is_set():
                name = f"{writer}-{number}"
                number += 1
                began = time.perf_counter()
                connection.execute(INSERT, (name, RECORDS))
                with self._lock:
                    self.calls.append((began, time.perf_counter() - began))
                    self.acknowledged.append(name)

    def between(self, since: float, until: float) -> list[float]:
        """Return the durations in ms of the calls that ran at any moment between two, shortest first."""
        with self._lock:
            return sorted(took * 1000 for began, took in self.calls if began < until and began + took > since)

    def stop(self) -> None:
        """End all of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def partitions_of(url: str, rows: int) -> None:
    """Make yesterday, today and tomorrow as any release can, and fill yesterday."""
    today = datetime.now(UTC).date()
    with psycopg.connect(url, autocommit=True) as connection:
        for n in (-1, 0, 1):
            day = today + timedelta(days=n)
            number = (day - datetime(1970, 1, 1, tzinfo=UTC).date()).days
            connection.execute(
                f"CREATE TABLE {partition_name('log_records', number)} PARTITION OF log_records FOR VALUES "
                f"FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')".encode()
            )
        connection.execute(FILL.format(table="log_records", day=today - timedelta(days=1), rows=rows).encode())


def told(name: str, calls: list[float], waits: LockWaits, took: float) -> str:
    """Return a line of a table."""
    worst = f"{waits.others_ms:.0f}" if waits.others_ms else "none seen"
    return f"| {name} | {took:.1f} | {len(calls)} | {calls[len(calls) // 2]:.0f} | {calls[-1]:.0f} | {worst} |"


def measure(url: str, rows: int, revision: str, seconds: float) -> int:
    """Migrate up and down under writers; return how many records are not there, or twice."""
    asyncio.run(migrate.upgrade(url, revision))
    partitions_of(url, rows)
    writers = Writers(url)
    print(
        "| | s | calls | p50, ms | slowest call, ms | longest wait for a lock, ms |",
        "|---|---|---|---|---|---|",
        sep="\n",
    )
    for name, work in (
        ("no migration", None),
        (f"{revision} to head", migrate.upgrade(url)),
        (f"head to {revision}", migrate.downgrade(url, revision)),
    ):
        began = time.perf_counter()
        with sampled(url, ()) as waits:
            if work is not None:
                asyncio.run(work)
            took = time.perf_counter() - began
            time.sleep(max(0.0, seconds - took))
        print(told(name, writers.between(began, time.perf_counter()), waits, took))
    writers.stop()
    with psycopg.connect(url) as connection:
        stored = dict(
            connection.execute(
                "SELECT substring(body from '^[0-9]+-[0-9]+'), count(*) FROM log_records WHERE component = 'writer' "
                "GROUP BY 1"
            ).fetchall()
        )
        row = connection.execute("SELECT count(*) FROM log_records WHERE component LIKE 'component-%'").fetchone()
    wrong = sum(stored.get(name) != RECORDS for name in writers.acknowledged)
    assert row is not None
    asked = len(writers.acknowledged) * RECORDS
    print(f"rows that were there: {row[0]:,} of {rows:,}; acknowledged {asked:,}, not there once: {wrong}")
    return wrong + int(row[0] != rows)


def main() -> int:
    """Start a PostgreSQL of its own, measure, print; return 1 where a record is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10, help="of writing measured with each migration, at least")
    parser.add_argument(
        "--from", dest="revision", default=None, help="the former head [the revision before the newest]"
    )
    options = parser.parse_args()
    data_dir = Path(tempfile.mkdtemp(prefix="oi-"))
    server = asyncio.run(embedded.start(data_dir))
    try:
        url = server.url.replace("+psycopg", "")
        return int(bool(measure(url, options.rows, options.revision or former_head(), options.seconds)))
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(server.cluster.pgdata.resolve().parent, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
