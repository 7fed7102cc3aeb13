"""Partitions by time: making what should be there, and looking at what is there.

A partition is made as a table of its own and then attached: ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, so
neither writers nor readers wait; CREATE TABLE … PARTITION OF would take ACCESS EXCLUSIVE. There is no DEFAULT
partition: it would forbid DETACH CONCURRENTLY. What to make is told by ``storage.periods`` and each table's period.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import lock_keys
from storage.columns import TELEMETRY_TABLES
from storage.dberrors import translate
from storage.models import time_partitions
from storage.periods import Range, covered, day_range, days_ahead, missing, range_name, range_of_bounds, range_of_name

# Each partition costs planning time and file handles; 4,000 days are eleven years of every day.
PARTITIONS_MAX = 4_000
# All receivers of one database take turns at DDL under this lock ("otel-ingest partitions" in 63 bits).
# One request may name years of days. All DDL of a transaction keeps its locks, some ten a partition, and PostgreSQL's
# default has room for 6,400 of all connections together.
_MADE_PER_TRANSACTION = 64
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

# Attached partitions, and tables that were some: a day that retention has detached, or is detaching, and not dropped
# yet. Neither its name nor its time is free.
_THERE = text("""
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       i.inhrelid IS NOT NULL AND NOT i.inhdetachpending AS attached
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'f')
  AND (p.relname = :table OR i.inhrelid IS NULL AND c.relname ~ ('^' || :table || '_p[0-9]{8}([0-9]{2}_[0-9]+h)?$'))
""")

_MAKE = text("SELECT otel_ingest_make_partition(:table, :since, :until)")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition as it is: rows are PostgreSQL's estimate, bytes include its indexes."""

    table: str
    name: str
    since: datetime
    until: datetime
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class There:
    """The ranges of a table's partitions, and those that are in the way of new ones: detached and not dropped."""

    attached: Sequence[Range]
    blocked: Sequence[Range]


def partition_name(table: str, day: int) -> str:
    """Return the name of the partition of ``day`` (days since 1970-01-01), for example log_records_p20261124."""
    return range_name(table, day_range(day))


def plan(there: There, period: str, days: Iterable[int], limit: int) -> list[Range]:
    """PURE: return the partitions to make for ``days``, in order; at most as many as the limit leaves room for."""
    wanted = missing([*there.attached, *there.blocked], period, days)
    return wanted[: max(0, limit - len(there.attached))]


async def ensure_days(engine: AsyncEngine, table: str, days: Iterable[int]) -> set[int]:
    """Make the partitions of ``days`` that are missing; return the days that are covered now.

    A day is left out when the table has its maximum of partitions, or when its own was detached and not dropped yet.
    Raises StoreError; some may be made then.
    """
    wanted = sorted(set(days))
    more, present = True, set[int]()
    while more:
        try:
            async with engine.begin() as connection:
                present, more = await _ensure(connection, table, wanted)
        except DBAPIError as error:
            raise translate(error) from error
    return present


async def _ensure(connection: AsyncConnection, table: str, wanted: list[int]) -> tuple[set[int], bool]:
    """Make what one transaction should; return the days covered, and whether there is more to make."""
    await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_keys.PARTITIONS})
    there = await what_is_there(connection, table)
    planned = plan(there, await period_of(connection, table), wanted, PARTITIONS_MAX)
    made = planned[:_MADE_PER_TRANSACTION]
    for bounds in made:
        await _create(connection, table, bounds)
    return covered([*there.attached, *made], wanted), len(planned) > len(made)


async def what_is_there(connection: AsyncConnection, table: str) -> There:
    """Return what a table's partitions cover. Raises SQLAlchemyError."""
    attached: list[Range] = []
    blocked: list[Range] = []
    for row in await connection.execute(_THERE, {"table": table}):
        bounds = range_of_bounds(row.bounds) if row.bounds else range_of_name(row.name)
        if bounds is not None:
            (attached if row.attached else blocked).append(bounds)
    return There(attached, blocked)


async def _create(connection: AsyncConnection, table: str, bounds: Range) -> None:
    """Make and attach one partition: a function of the owner does it, for writers own no table."""
    await connection.execute(_MAKE, {"table": table, "since": bounds.since, "until": bounds.until})


async def period_of(connection: AsyncConnection, table: str) -> str:
    """Return the period of a table: what was chosen, else what its migration says. Raises SQLAlchemyError."""
    chosen = func.coalesce(time_partitions.c.period, time_partitions.c.default_period)
    row = (await connection.execute(select(chosen).where(time_partitions.c.table_name == table))).scalar()
    return str(row or "day")


async def periods(engine: AsyncEngine) -> dict[str, str]:
    """Return the period of each table. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            return {table.name: await period_of(connection, table.name) for table in TELEMETRY_TABLES}
    except SQLAlchemyError as error:
        raise translate(error) from error


async def set_period(engine: AsyncEngine, table: str, period: str | None) -> None:
    """Have new partitions of a table last an hour, a day or a week; None: what its migration says. For the owner.

    What is there keeps its bounds; new ones fill the gaps. Raises StoreError.
    """
    change = update(time_partitions).where(time_partitions.c.table_name == table).values(period=period)
    try:
        async with engine.begin() as connection:
            await connection.execute(change)
    except SQLAlchemyError as error:
        raise translate(error) from error


async def maintain(engine: AsyncEngine, now: datetime, ahead: int) -> None:
    """Make the partitions of yesterday to ``ahead`` days from now for all tables."""
    for table in TELEMETRY_TABLES:
        await ensure_days(engine, table.name, days_ahead(now, ahead))


async def list_partitions(engine: AsyncEngine) -> list[Partition]:
    """Return all partitions, by table and day."""
    try:
        async with engine.connect() as connection:
            rows = (await connection.execute(_LIST, {"tables": [t.name for t in TELEMETRY_TABLES]})).all()
    except DBAPIError as error:
        raise translate(error) from error
    ranges = [(row, range_of_bounds(row.bounds)) for row in rows]
    return [Partition(r.parent, r.name, b.since, b.until, r.rows, r.bytes) for r, b in ranges if b is not None]
