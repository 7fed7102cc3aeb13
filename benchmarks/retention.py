"""``make retention-bench``: a day goes while it ingests; and both ways to let a part of a day go (``--layout``).

The first: a day of a million log records, kept out by a rule, is detached and dropped, and of another day DEBUG is
deleted, while senders export over HTTP. Export calls without and with it, and the longest wait for a lock. The second
compares deleting with dropping a sub-partition: write rate, time, size, reads.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from sqlalchemy import MetaData

from benchmarks.locks import sampled
from storage import embedded
from storage.config import StorageConfig
from storage.deletion import delete_rows
from storage.engine import write_engine
from storage.models import log_records
from storage.partitions import ensure_days, partition_name
from storage.retention import carrying_out, store
from storage.retention.rules import Rule, selector_of
from tests import harness
from tests.factories import log_record, logs_request

SENDERS, RECORDS = 4, 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A fifth is DEBUG, a twentieth ERROR; bodies and attributes as long as common ones.
FILL = """
INSERT INTO {table} (time, time_unix_nano, observed_time_unix_nano, resource_id, scope_id, severity_number, flags,
  dropped_attributes_count, body_kind, component, severity_text, event_name, attributes, trace_id, span_id, body)
SELECT timestamptz '{day} 00:00:00+00' + n * interval '86400 s' / {rows}, 0, 0, gen_random_uuid(), gen_random_uuid(),
  CASE WHEN n % 20 = 0 THEN 17 WHEN n % 5 = 0 THEN 5 ELSE 9 END, 0, 0, 1, 'component-' || n % 20, 'INFO', '',
  jsonb_build_object('http.route', '/api/orders/' || n % 100, 'number', n), gen_random_uuid(), n,
  'request ' || n || ' took ' || n % 997 || ' ms and returned ' || n % 5 || ' rows of the table orders'
FROM generate_series(0, {rows} - 1) AS n
"""


class Senders:
    """Threads that export again and again; each call's duration and moment."""

    def __init__(self, server: harness.Server) -> None:
        self.calls: list[tuple[float, float]] = []
        self.refused = self.acknowledged = 0
        self._server, self._stop, self._number = server, threading.Event(), 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def _send(self, sender: int) -> None:
        number = 0
        while not self._stop.is_set():
            records = [log_record(observed_time_unix_nano=sender << 40 | number << 8 | n) for n in range(RECORDS)]
            number += 1
            body = logs_request(records).SerializeToString()
            began = time.perf_counter()
            status, _ = self._server.post("/v1/logs", body, "application/x-protobuf")
            with self._lock:
                self.calls.append((began, time.perf_counter() - began))
                self.refused += status != 200
                self.acknowledged += RECORDS if status == 200 else 0

    def between(self, since: float, until: float) -> list[float]:
        """Return the durations in ms of the calls that ran at any moment between two."""
        with self._lock:
            return sorted(took * 1000 for began, took in self.calls if began < until and began + took > since)

    def stop(self) -> None:
        """End all of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def told(name: str, calls: list[float]) -> str:
    """Return a line of a table."""
    p99 = calls[int(len(calls) * 0.99)]
    return f"| {name} | {len(calls)} | {statistics.median(calls):.0f} | {p99:.0f} | {calls[-1]:.0f} |"


def fill(url: str, age_days: int, rows: int) -> str:
    """Make an old day with so many records, as if its partition was made then; return its name."""
    day = (datetime.now(UTC) - _EPOCH).days - age_days
    name = partition_name("log_records", day)

    async def make() -> None:
        engine = write_engine(StorageConfig(url))
        await ensure_days(engine, "log_records", {day})
        await engine.dispose()

    asyncio.run(make())
    with psycopg.connect(url, autocommit=True) as connection:
        date = (_EPOCH + timedelta(days=day)).date()
        connection.execute(FILL.format(table="log_records", day=date, rows=rows).encode())
        connection.execute(f"COMMENT ON TABLE {name} IS 'otel-ingest made=0'".encode())
        connection.execute(f"ANALYZE {name}".encode())
    return name


async def apply(url: str) -> list[carrying_out.Done]:
    """Carry out what is due, as upkeep does."""
    engine = write_engine(StorageConfig(url))
    try:
        return await carrying_out.apply(engine, datetime.now(UTC), 600)
    finally:
        await engine.dispose()


async def keep(url: str, seconds: int, severity_max: str | None = None) -> None:
    """Set a rule of logs."""
    engine = write_engine(StorageConfig(url))
    selector = selector_of("logs", severity_max=severity_max)
    rule = Rule(selector=selector, keep_s=seconds)
    await store.set_rule(engine, selector, rule, "benchmark", ("benchmark", "admin"), {})
    await engine.dispose()


def live(rows: int, seconds: float) -> int:
    """Drop a day, then delete of one, beside senders; print; return 1 where a record is missing."""
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, harness.running(Path(directory) / "data") as server:
        url = embedded.connection_url(server.data_dir).replace("+psycopg", "")
        names = fill(url, 40, rows), fill(url, 10, rows)
        senders = Senders(server)
        time.sleep(seconds)
        print("| export calls of 200 records, 4 senders | calls | p50, ms | p99, ms | slowest, ms |")
        print("|---|---|---|---|---|")
        print(told("nothing else", senders.between(time.perf_counter() - seconds, time.perf_counter())))
        lines = []
        for what, rule in (("drop", None), ("delete", "debug")):
            if rule is not None:
                asyncio.run(keep(url, 3 * 86_400, rule))
            began = time.perf_counter()
            with sampled(url, ("ALTER TABLE", "DROP TABLE", "COMMENT ON")) as waits:
                done = asyncio.run(apply(url))
                took = time.perf_counter() - began
                time.sleep(max(0.0, seconds - took))
            until = time.perf_counter()
            print(told(f"{what}: {took:.1f} s", senders.between(began, until)))
            lines.append(
                f"{what}: {[(d.step.kind, d.step.name, d.rows, d.failed) for d in done]}; longest wait for a lock, "
                f"of {waits.samples} looks: {waits.others_ms:.0f} ms ({waits.worst or 'nobody waited'}); the detach "
                f"itself waited {waits.upkeep_ms:.0f} ms"
            )
        senders.stop()
        with psycopg.connect(url) as connection:
            stored = connection.execute("SELECT count(*) FROM log_records WHERE time > now() - interval '2 days'")
            row = stored.fetchone()
    assert row is not None
    print(
        *lines,
        f"days {names}; acknowledged {senders.acknowledged}, stored {row[0]}, refused calls {senders.refused}",
        sep="\n",
    )
    return int(row[0] != senders.acknowledged)


@contextmanager
def database() -> Iterator[str]:
    """Yield the URL of a migrated database of its own."""
    with tempfile.TemporaryDirectory(prefix="oi-") as directory, harness.running(Path(directory) / "data") as server:
        yield embedded.connection_url(server.data_dir).replace("+psycopg", "")


def layout(rows: int) -> int:
    """Print both layouts side by side."""
    day = "2026-01-05"
    with database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE source (LIKE log_records INCLUDING DEFAULTS)")
        connection.execute(FILL.format(table="source", day=day, rows=rows).encode())
        with connection.cursor() as cursor, cursor.copy("COPY source TO STDOUT") as copy:
            lines = b"".join(bytes(chunk) for chunk in copy).splitlines(keepends=True)
        make = "CREATE TABLE {0} (LIKE log_records INCLUDING DEFAULTS) PARTITION BY {1}"
        for name, parts in (
            ("plain", None),
            ("sub", (("debug", "MINVALUE", "9"), ("info", "9", "17"), ("error", "17", "MAXVALUE"))),
        ):
            connection.execute(make.format(name, "RANGE (time)").encode())
            bounds = f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('2026-01-06 00:00:00+00')"
            below = " PARTITION BY RANGE (severity_number)" if parts else ""
            connection.execute(f"CREATE TABLE {name}_day PARTITION OF {name} {bounds}{below}".encode())
            for part, least, most in parts or ():
                of = f"CREATE TABLE sub_{part} PARTITION OF sub_day FOR VALUES FROM ({least}) TO ({most})"
                connection.execute(of.encode())
            for columns in ("(time, id)", "(component, time)", "(trace_id)"):
                connection.execute(f"CREATE INDEX ON {name} {columns}".encode())
        print("| | deleting | sub-partitions by severity |", "|---|---|---|", sep="\n")
        write = {name: [] for name in ("plain", "sub")}
        for start in range(0, len(lines), len(lines) // 8):
            for name, took in write.items():
                began = time.perf_counter()
                for at in range(start, min(start + len(lines) // 8, len(lines)), 1000):
                    with connection.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN".encode()) as copy:
                        copy.write(b"".join(lines[at : at + 1000]))
                took.append(time.perf_counter() - began)
        rates = {name: len(lines) / 8 / statistics.median(took) for name, took in write.items()}
        print(f"| write, records/s, batches of 1,000 | {rates['plain']:,.0f} | {rates['sub']:,.0f} |")
        print(row_of(connection, "read before, ms (newest 100 of a component; counts by hour)", reads))
        print(row_of(connection, "size before, MB", sizes))
        began = time.perf_counter()
        gone = asyncio.run(delete(url, day))
        deleted_s, began = time.perf_counter() - began, time.perf_counter()
        connection.execute("ALTER TABLE sub_day DETACH PARTITION sub_debug CONCURRENTLY")
        connection.execute("DROP TABLE sub_debug")
        print(f"| DEBUG of the day gone, s | {deleted_s:.2f} ({gone:,} rows) | {time.perf_counter() - began:.2f} |")
        began = time.perf_counter()
        connection.execute("VACUUM (ANALYZE) plain_day")
        print(f"| VACUUM after it, s | {time.perf_counter() - began:.2f} | none |")
        connection.execute("ANALYZE sub")
        print(row_of(connection, "size after, MB", sizes))
        print(row_of(connection, "read after, ms", reads))
    return 0


async def delete(url: str, day: str) -> int:
    """Delete DEBUG of ``plain`` as retention does: by hours, 5,000 rows a transaction."""
    engine = write_engine(StorageConfig(url))
    plain = log_records.to_metadata(MetaData(), name="plain")
    gone, since = 0, datetime.fromisoformat(f"{day}T00:00:00+00:00")
    for _ in range(24):
        while True:
            here = [
                plain.c.time >= since,
                plain.c.time < since + timedelta(hours=1),
                plain.c.severity_number.between(1, 8),
            ]
            async with engine.begin() as connection:
                count = await delete_rows(connection, plain, here, carrying_out.ROWS_A_TRANSACTION)
            gone += count
            if count < carrying_out.ROWS_A_TRANSACTION:
                break
        since += timedelta(hours=1)
    await engine.dispose()
    return gone


def row_of(connection: psycopg.Connection, what: str, measure) -> str:  # noqa: ANN001
    """Return a line with what is measured of both."""
    return f"| {what} | {measure(connection, 'plain')} | {measure(connection, 'sub')} |"


def sizes(connection: psycopg.Connection, name: str) -> str:
    """Return the bytes of all partitions of a table, in MB."""
    row = connection.execute(
        f"SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{name}')".encode()  # noqa: S608
    ).fetchone()
    assert row is not None
    return f"{float(row[0]) / 1e6:.0f}"


def reads(connection: psycopg.Connection, name: str) -> str:
    """Return medians of two reads in ms."""
    questions = (
        f"SELECT * FROM {name} WHERE component = 'component-7' ORDER BY time DESC LIMIT 100",  # noqa: S608
        f"SELECT date_trunc('hour', time), severity_number, count(*) FROM {name} GROUP BY 1, 2",  # noqa: S608
    )
    found = []
    for question in questions:
        took = []
        for _ in range(7):
            began = time.perf_counter()
            connection.execute(question.encode()).fetchall()
            took.append((time.perf_counter() - began) * 1000)
        found.append(f"{statistics.median(took):.1f}")
    return "; ".join(found)


def main() -> int:
    """Run one of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of a day")
    parser.add_argument("--seconds", type=float, default=20, help="measured without, and with")
    parser.add_argument("--layout", action="store_true", help="deleting against sub-partitions")
    options = parser.parse_args()
    return layout(options.rows) if options.layout else live(options.rows, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
