"""Day partitions: what should be there (pure), and making it so.

A partition is made as a table of its own and then attached: ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, so
neither writers nor readers wait; CREATE TABLE … PARTITION OF would take ACCESS EXCLUSIVE. There is no DEFAULT
partition: it would forbid DETACH CONCURRENTLY.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.columns import TELEMETRY_TABLES
from storage.dberrors import translate

_EPOCH = date(1970, 1, 1)

# Each partition costs planning time and file handles; 4,000 days are eleven years of every day.
PARTITIONS_MAX = 4_000
# All receivers of one database take turns at DDL under this lock ("otel-ingest partitions" in 63 bits).
_LOCK_KEY = 0x6F74_6C70_0001
# One request may name years of days. All DDL of a transaction keeps its locks, some ten a partition, and PostgreSQL's
# default has room for 6,400 of all connections together.
_DAYS_PER_TRANSACTION = 64
# Bounded: a reader that holds its lock for long must not stop ingestion behind our DDL.
_LOCK_TIMEOUT = "3s"

_LIST = text("""
SELECT p.relname AS parent, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       greatest(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = current_schema() AND p.relname = ANY(:tables) AND p.relkind = 'p'
ORDER BY p.relname, c.relname
""")


_NAMES = text("""
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = current_schema() AND p.relname = :table AND p.relkind = 'p' AND NOT i.inhdetachpending
""")

# A day that retention has detached, or is detaching, and not dropped yet: its name is not free.
_TAKEN = text("""
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname = ANY(:names)
""")

_MAKE = text("SELECT otel_ingest_make_partition(:table, :day)")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition as it is: rows are PostgreSQL's estimate, bytes include its indexes."""

    table: str
    name: str
    since: datetime
    until: datetime
    rows: int
    bytes: int


def partition_name(table: str, day: int) -> str:
    """Return the name of the partition of ``day`` (days since 1970-01-01), for example log_records_p20261124."""
    return f"{table}_p{_EPOCH + timedelta(days=day):%Y%m%d}"


def plan(existing: Iterable[str], table: str, needed: Iterable[int], limit: int) -> list[int]:
    """PURE: return the days to make partitions for, in order; at most as many as the limit leaves room for."""
    present = set(existing)
    missing = sorted(d for d in set(needed) if partition_name(table, d) not in present)
    return missing[: max(0, limit - len(present))]


def days_ahead(now: datetime, ahead: int) -> range:
    """PURE: return yesterday (late records), today and ``ahead`` more days, as days since 1970-01-01."""
    today = (now.astimezone(UTC).date() - _EPOCH).days
    return range(today - 1, today + ahead + 1)


async def ensure_days(engine: AsyncEngine, table: str, days: Iterable[int]) -> set[int]:
    """Make the partitions of ``days`` that are missing; return the days that have one now.

    A day is left out when the table has its maximum of partitions, or when its own was detached and not dropped yet.
    Raises StoreError; some may be made then.
    """
    wanted = sorted(set(days))
    present: set[int] = set()
    for start in range(0, len(wanted), _DAYS_PER_TRANSACTION):
        present |= await _ensure(engine, table, wanted[start : start + _DAYS_PER_TRANSACTION])
    return present


async def _ensure(engine: AsyncEngine, table: str, wanted: list[int]) -> set[int]:
    """``ensure_days`` in one transaction."""
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            existing = set((await connection.execute(_NAMES, {"table": table})).scalars())
            made = plan(existing, table, wanted, PARTITIONS_MAX)
            names = [partition_name(table, day) for day in made]
            taken = set((await connection.execute(_TAKEN, {"names": names})).scalars()) if made else set()
            made = [day for day in made if partition_name(table, day) not in taken]
            for day in made:
                await _create(connection, table, day)
    except DBAPIError as error:
        raise translate(error) from error
    return {d for d in wanted if d in made or partition_name(table, d) in existing}


async def _create(connection: AsyncConnection, table: str, day: int) -> None:
    """Make and attach one partition: a function of the owner does it, for writers own no table (migration 0006)."""
    await connection.execute(_MAKE, {"table": table, "day": _EPOCH + timedelta(days=day)})


async def maintain(engine: AsyncEngine, now: datetime, ahead: int) -> None:
    """Make the partitions of yesterday to ``ahead`` days from now for all tables."""
    for table in TELEMETRY_TABLES:
        await ensure_days(engine, table.name, days_ahead(now, ahead))


async def list_partitions(engine: AsyncEngine) -> list[Partition]:
    """Return all partitions, by table and day."""
    try:
        async with engine.connect() as connection:
            rows = await connection.execute(_LIST, {"tables": [t.name for t in TELEMETRY_TABLES]})
            return [_partition(r.parent, r.name, r.rows, r.bytes) for r in rows]
    except DBAPIError as error:
        raise translate(error) from error


def _partition(table: str, name: str, rows: int, size: int) -> Partition:
    since = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC)
    return Partition(table, name, since, since + timedelta(days=1), rows, size)
