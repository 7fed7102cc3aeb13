"""``make bench-index``: what each kind of index costs log records and how quick it makes its question.

Rows of one day of the store of ``make bench-read`` are inserted, in the order of their times and 8,192 a transaction,
into a table with the one index; then the same index is built on a table that is full. The read is its question of that
day, warm, the median of 21; "none" reads all of it. All of it is PostgreSQL's time, on one connection.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from benchmarks.read_store import RARE_WORD, opened
from storage.columns import LOG_RECORDS

ROWS_A_TRANSACTION = 8_192
READS = 21


@dataclass(frozen=True, slots=True)
class Kind:
    """One index: its name, its definition after ON index_bench, and the question it is for."""

    name: str
    definition: str
    question: str


TRACE = "SELECT * FROM index_bench WHERE trace_id = %(trace)s"
NEWEST = "SELECT * FROM index_bench WHERE component = %(component)s ORDER BY time DESC LIMIT 100"
ERRORS = (
    "SELECT * FROM index_bench WHERE component = %(component)s AND severity_number >= 17 ORDER BY time DESC LIMIT 100"
)
HOUR = "SELECT count(*) FROM index_bench WHERE time >= %(since)s AND time < %(since)s + interval '1 hour'"
PAIR = "SELECT * FROM index_bench WHERE attributes @> %(pair)s"
WORD = f"SELECT * FROM index_bench WHERE body ILIKE '%%{RARE_WORD}%%'"  # noqa: S608
TOKEN = f"SELECT * FROM index_bench WHERE to_tsvector('simple', body) @@ to_tsquery('simple', '{RARE_WORD}:*')"  # noqa: S608
KINDS = (
    Kind("none", "", HOUR),
    Kind("btree (time)", "USING btree (time)", HOUR),
    Kind("brin minmax (time)", "USING brin (time)", HOUR),
    Kind("btree (component, time)", "USING btree (component, time)", NEWEST),
    Kind("btree (component, time) WHERE severity >= 17", "(component, time) WHERE severity_number >= 17", ERRORS),
    Kind("btree (component, severity, time)", "USING btree (component, severity_number, time)", ERRORS),
    Kind("btree (trace_id)", "USING btree (trace_id)", TRACE),
    Kind("hash (trace_id)", "USING hash (trace_id)", TRACE),
    Kind("brin bloom (trace_id)", "USING brin (trace_id uuid_bloom_ops) WITH (pages_per_range = 8)", TRACE),
    Kind("gin jsonb_path_ops (attributes)", "USING gin (attributes jsonb_path_ops)", PAIR),
    Kind("gin jsonb_ops (attributes)", "USING gin (attributes)", PAIR),
    Kind("gin tsvector simple (body)", "USING gin (to_tsvector('simple', body))", TOKEN),
    Kind("gin trigrams (body), pg_trgm", "USING gin (body gin_trgm_ops)", WORD),
)


@contextmanager
def _table(cursor: psycopg.Cursor[Any], definition: str) -> Iterator[None]:
    cursor.execute("DROP TABLE IF EXISTS index_bench")
    cursor.execute("CREATE TABLE index_bench (LIKE log_records)")
    if definition:
        cursor.execute(f"CREATE INDEX index_bench_idx ON index_bench {definition}".encode())
    yield
    cursor.execute("DROP TABLE index_bench")


def _one(cursor: psycopg.Cursor[Any], statement: str) -> Any:
    row = cursor.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def _fill(cursor: psycopg.Cursor[Any], rows: int) -> tuple[float, float]:
    """Insert the rows; return rows a second, and bytes of WAL a row."""
    columns = ", ".join(("id", *(column.name for column in LOG_RECORDS.columns)))
    before = _one(cursor, "SELECT pg_current_wal_insert_lsn()")
    began = time.perf_counter()
    for first in range(0, rows, ROWS_A_TRANSACTION):
        cursor.execute(
            f"INSERT INTO index_bench ({columns}) SELECT {columns} FROM index_bench_rows "  # noqa: S608
            f"WHERE n > {first} AND n <= {first + ROWS_A_TRANSACTION}".encode()
        )
    took = time.perf_counter() - began
    wal = _one(cursor, f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')")
    return rows / took, float(wal) / rows


def _build(cursor: psycopg.Cursor[Any], definition: str) -> tuple[float, float]:
    """Build the index on the full table; return seconds and bytes."""
    cursor.execute("DROP INDEX index_bench_idx")
    began = time.perf_counter()
    cursor.execute(f"CREATE INDEX index_bench_idx ON index_bench {definition}".encode())
    return time.perf_counter() - began, float(_one(cursor, "SELECT pg_relation_size('index_bench_idx')"))


def _read(cursor: psycopg.Cursor[Any], question: str, values: list[dict[str, Any]]) -> float:
    """Return the median of its times, ms."""
    times = []
    for parameters in values:
        began = time.perf_counter()
        cursor.execute(question.encode(), parameters)
        cursor.fetchall()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])


def _values(cursor: psycopg.Cursor[Any]) -> list[dict[str, Any]]:
    """Return what is asked for: of rows that are there, spread over the day."""
    rows = cursor.execute(
        "SELECT trace_id, component, attributes -> 'user.id', (SELECT min(time) FROM index_bench_rows) "
        "FROM index_bench_rows WHERE trace_id IS NOT NULL "
        "AND mod(n, (SELECT count(*) / %(reads)s FROM index_bench_rows)) = 1 LIMIT %(reads)s + 1",
        {"reads": READS},
    )
    return [
        {"trace": trace, "component": component, "pair": Jsonb({"user.id": user}), "since": since}
        for trace, component, user, since in rows.fetchall()
    ]


def _measure(cursor: psycopg.Cursor[Any], kind: Kind, rows: int, values: list[dict[str, Any]]) -> list[str]:
    with _table(cursor, kind.definition):
        rate, wal = _fill(cursor, rows)
        size = float(_one(cursor, "SELECT pg_indexes_size('index_bench')")) / rows
        cells = [kind.name, f"{rate:,.0f}", f"{wal:.0f}", f"{size:.1f}"]
        if not kind.definition:
            cursor.execute("VACUUM ANALYZE index_bench")
            return [*cells, "", "", f"{_read(cursor, kind.question, values):.1f}"]
        seconds, built = _build(cursor, kind.definition)
        cursor.execute("VACUUM ANALYZE index_bench")
        read = _read(cursor, kind.question, values)
        return [*cells, f"{built / rows:.1f}", f"{seconds:.1f}", f"{read:.1f}"]


def run(options: argparse.Namespace, url: str) -> None:
    """Measure all and print."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    table = Table("index", "rows/s", "WAL a row", "bytes a row", "built: bytes a row", "s", "read ms", box=box.MARKDOWN)
    with (
        psycopg.connect(plain, autocommit=True, options="-c timezone=UTC") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        cursor.execute("DROP TABLE IF EXISTS index_bench_rows")
        cursor.execute(
            "CREATE UNLOGGED TABLE index_bench_rows AS SELECT row_number() OVER (ORDER BY time, id) AS n, l.* "
            "FROM log_records l WHERE time >= date_bin('1 day', (SELECT max(time) FROM log_records), 'epoch') "
            "- make_interval(days => %s) AND time < date_bin('1 day', (SELECT max(time) FROM log_records), 'epoch')",
            (options.days,),
        )
        cursor.execute("CREATE UNIQUE INDEX ON index_bench_rows (n)")
        cursor.execute("VACUUM ANALYZE index_bench_rows")
        rows = int(_one(cursor, "SELECT count(*) FROM index_bench_rows"))
        values = _values(cursor)
        try:
            for kind in KINDS:
                if options.only in kind.name:
                    table.add_row(*_measure(cursor, kind, rows, values))
                    print(f"{kind.name}: done", flush=True)
        finally:
            cursor.execute("DROP TABLE IF EXISTS index_bench, index_bench_rows")
    Console(width=120).print(table)
    print(f"{rows:,} log records of {options.days} days")


async def main() -> None:
    """Take the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="log records of the store")
    parser.add_argument("--spans", type=int, default=2_000_000)
    parser.add_argument("--data-dir", type=Path, help="where the store is: default build/bench-ROWS")
    parser.add_argument("--days", type=int, default=1, help="how many days of it are copied")
    parser.add_argument("--only", default="", help="indexes with this in their name")
    options = parser.parse_args()
    directory = (options.data_dir or Path("build") / f"bench-{options.rows}").absolute()
    async with opened(directory, options.rows, options.spans) as (url, _):
        await asyncio.to_thread(run, options, url)


if __name__ == "__main__":
    asyncio.run(main())
