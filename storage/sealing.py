"""Indexes that closed partitions get: what would halve the rate of writing costs next to nothing once a day is over.

Built CONCURRENTLY, as the owner, one after the other: writers of late records, and readers, do not wait. What was cut
off leaves an invalid index behind: it is dropped and built again the next time. Figures: docs/adr/016.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.dberrors import reason, translate
from storage.periods import range_of_bounds
from storage.retention.carrying_out import Done
from storage.retention.planning import Step

TABLES = ("log_records", "spans")
"""Tables whose attributes are searched."""
GRACE = timedelta(hours=2)
"""After the end of a partition: by then its late records are few, and each costs the index."""
_LOCK_KEY = 0x6F74_6C70_0006
# What a build waits for are transactions older than it; readers' are 10 s at most, writers' 30.
_LOCK_TIMEOUT = "60s"
_STATEMENT_TIMEOUT = "30min"
_LIST = text("""
SELECT p.relname AS parent, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       greatest(c.reltuples, 0)::bigint AS rows, pg_relation_size(c.oid) AS bytes, x.indisvalid AS valid
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indexrelid = to_regclass(quote_ident(c.relname || '_attributes_idx'))
WHERE n.nspname = current_schema() AND p.relname = ANY(:tables) AND p.relkind = 'p' AND NOT i.inhdetachpending
ORDER BY c.relname DESC
""")


async def plan(engine: AsyncEngine, now: datetime) -> list[Step]:
    """Return the indexes to build now, the newest partition first. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            return [step for step, _ in await _due(connection, now)]
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def apply(engine: AsyncEngine, now: datetime, seconds_max: float) -> list[Done]:
    """Build what is due; past ``seconds_max`` none is begun. [] where another does it at this moment.

    ``engine`` is the owner's. Raises StoreError.
    """
    deadline_s = time.monotonic() + seconds_max
    try:
        async with engine.connect() as raw:
            connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
            lock = text("SELECT pg_try_advisory_lock(:key)")
            if not (await connection.execute(lock, {"key": _LOCK_KEY})).scalar_one():
                return []
            try:
                await connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
                await connection.execute(text(f"SET statement_timeout = '{_STATEMENT_TIMEOUT}'"))
                return await _build(connection, await _due(connection, now), deadline_s)
            finally:
                # The lock, and what was set, end with the session.
                await connection.invalidate()
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def _due(connection: AsyncConnection, now: datetime) -> list[tuple[Step, bool]]:
    """Return the steps, each with whether what an earlier try left is in its way."""
    found = []
    for row in (await connection.execute(_LIST, {"tables": list(TABLES)})).all():
        bounds = range_of_bounds(row.bounds)
        if bounds is None or bounds.until + GRACE > now or row.valid or not row.bytes:
            continue
        why = "it is over: attributes are found by an index that is too dear while records come in"
        step = Step(
            kind="index", table=row.parent, name=row.name, bounds=bounds, reason=why, rows=row.rows, bytes=row.bytes
        )
        found.append((step, row.valid is False))
    return found


async def _build(connection: AsyncConnection, due: Sequence[tuple[Step, bool]], deadline_s: float) -> list[Done]:
    done = []
    for step, is_in_the_way in due:
        if time.monotonic() >= deadline_s:
            break
        index = f'"{step.name}_attributes_idx"'
        try:
            if is_in_the_way:
                await connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {index}"))
            await connection.execute(
                text(f'CREATE INDEX CONCURRENTLY {index} ON "{step.name}" USING gin (attributes jsonb_path_ops)')
            )
            done.append(Done(step))
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            done.append(Done(step, failed=reason(error)))
    return done
