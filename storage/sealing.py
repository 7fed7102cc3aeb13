"""Indexes that closed partitions get: what would halve the rate of writing costs next to nothing once a day is over.

Built CONCURRENTLY, as the owner, one after the other: writers of late records, and readers, do not wait. What was cut
off leaves an invalid index behind: it is dropped and built again the next time. Figures: docs/adr/016 and 028.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import lock_keys
from storage.dberrors import reason, translate
from storage.periods import range_of_bounds
from storage.retention.carrying_out import Done
from storage.retention.planning import Step


@dataclass(frozen=True, slots=True)
class Index:
    """An index that the closed partitions of a table get: the end of its name, USING, and what it is for."""

    table: str
    suffix: str
    using: str
    why: str


_ATTRIBUTES = "it is over: attributes are found by an index that is too dear while records come in"
_TEXT = "it is over: a word in its texts is found by trigrams"
INDEXES = (
    Index("log_records", "attributes_idx", "gin (attributes jsonb_path_ops)", _ATTRIBUTES),
    Index("spans", "attributes_idx", "gin (attributes jsonb_path_ops)", _ATTRIBUTES),
)
# {0}: the schema of the extension, as SQL.
TEXT_INDEX = Index("log_records", "body_idx", "gin (body {0}.gin_trgm_ops)", _TEXT)
GRACE = timedelta(hours=2)
"""After the end of a partition: by then its late records are few, and each costs the index."""
# What a build waits for are transactions older than it; readers' are 10 s at most, writers' 30.
_LOCK_TIMEOUT = "60s"
_STATEMENT_TIMEOUT = "30min"
_LIST = text("""
SELECT w.place, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       greatest(c.reltuples, 0)::bigint AS rows, pg_relation_size(c.oid) AS bytes, x.indisvalid AS valid
FROM unnest(CAST(:tables AS text[]), CAST(:suffixes AS text[])) WITH ORDINALITY AS w (parent, suffix, place)
JOIN pg_class p ON p.relname = w.parent AND p.relkind = 'p'
JOIN pg_namespace n ON n.oid = p.relnamespace AND n.nspname = current_schema()
JOIN pg_inherits i ON i.inhparent = p.oid AND NOT i.inhdetachpending
JOIN pg_class c ON c.oid = i.inhrelid
LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indexrelid = to_regclass(quote_ident(c.relname || '_' || w.suffix))
ORDER BY w.suffix, c.relname DESC
""")
# NULL: it is not there.
_TRIGRAMS = text("""
SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_trgm'
""")
# A trusted extension: who may create in the database may create it.
_MAY_CREATE = text("""
SELECT EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'pg_trgm' AND trusted)
       AND has_database_privilege(current_database(), 'CREATE')
""")
_CREATE = text("CREATE EXTENSION IF NOT EXISTS pg_trgm")


async def plan(engine: AsyncEngine, now: datetime) -> list[Step]:
    """Return the indexes to build now, the newest partition first. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            there = await _trigrams(connection) is not None
            texts = there or (await connection.execute(_MAY_CREATE)).scalar_one()
            return [due.step for due in await _due(connection, now, texts=texts)]
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def apply(engine: AsyncEngine, now: datetime, seconds_max: float) -> list[Done]:
    """Build what is due; past ``seconds_max`` none is begun. [] where another does it at this moment.

    What finds words in texts is due where the extension pg_trgm is there, or the owner may create it.

    ``engine`` is the owner's. Raises StoreError.
    """
    deadline_s = time.monotonic() + seconds_max
    try:
        async with engine.connect() as raw:
            connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
            lock = text("SELECT pg_try_advisory_lock(:key)")
            if not (await connection.execute(lock, {"key": lock_keys.SEALING})).scalar_one():
                return []
            try:
                await connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
                await connection.execute(text(f"SET statement_timeout = '{_STATEMENT_TIMEOUT}'"))
                schema = await _with_trigrams(connection)
                return await _build(
                    connection, await _due(connection, now, texts=schema is not None), deadline_s, schema
                )
            finally:
                # The lock, and what was set, end with the session.
                await connection.invalidate()
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def _trigrams(connection: AsyncConnection) -> str | None:
    """Return the schema of pg_trgm as SQL; None where the database does not have it."""
    schema: str | None = (await connection.execute(_TRIGRAMS)).scalar_one_or_none()
    return schema


async def _with_trigrams(connection: AsyncConnection) -> str | None:
    """Return the schema of pg_trgm, which is made where it may be; None where it cannot be had."""
    schema = await _trigrams(connection)
    if schema is not None or not (await connection.execute(_MAY_CREATE)).scalar_one():
        return schema
    try:
        await connection.execute(_CREATE)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        # Whoever runs PostgreSQL may refuse it all the same; nothing requires it.
        return None
    return await _trigrams(connection)


@dataclass(frozen=True, slots=True)
class _Due:
    """An index to build; ``is_in_the_way``: what an earlier try left is."""

    step: Step
    index: Index
    is_in_the_way: bool


async def _due(connection: AsyncConnection, now: datetime, *, texts: bool) -> list[_Due]:
    wanted = [*INDEXES, TEXT_INDEX] if texts else [*INDEXES]
    asked = {"tables": [each.table for each in wanted], "suffixes": [each.suffix for each in wanted]}
    found = []
    for row in (await connection.execute(_LIST, asked)).all():
        bounds, index = range_of_bounds(row.bounds), wanted[row.place - 1]
        if bounds is None or bounds.until + GRACE > now or row.valid or not row.bytes:
            continue
        step = Step(
            kind="index",
            table=index.table,
            name=row.name,
            bounds=bounds,
            reason=index.why,
            rows=row.rows,
            bytes=row.bytes,
        )
        found.append(_Due(step, index, row.valid is False))
    return found


async def _build(connection: AsyncConnection, due: Sequence[_Due], deadline_s: float, schema: str | None) -> list[Done]:
    done = []
    for each in due:
        if time.monotonic() >= deadline_s:
            break
        name = f'"{each.step.name}_{each.index.suffix}"'
        using = each.index.using.format(schema)
        try:
            if each.is_in_the_way:
                await connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
            await connection.execute(text(f'CREATE INDEX CONCURRENTLY {name} ON "{each.step.name}" USING {using}'))
            done.append(Done(each.step))
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            done.append(Done(each.step, failed=reason(error)))
    return done
