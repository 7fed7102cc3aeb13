"""Carrying steps out beside the writers, as the owner of the schema.

A partition is marked, detached CONCURRENTLY (nobody waits for that: it waits for the transactions that use the table),
and dropped. Whatever is cut off on the way is ended the next time: the mark says that the partition was to go.
A table that somebody else detached bears no mark, and is left alone.
"""

import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import lock_keys
from storage.dberrors import reason, translate
from storage.deletion import delete_rows, drop_detached
from storage.models import TABLES
from storage.retention.conditions import going
from storage.retention.planning import Step, steps
from storage.retention.store import Note, held_of, note_of, rules_of

# Of one transaction that deletes: some 20 ms.
ROWS_A_TRANSACTION = 5_000
# Who waits for our locks: nobody. What we wait for are readers, 10 s at most each; past it the next time ends it.
_LOCK_TIMEOUT = "15s"
# DROP takes ACCESS EXCLUSIVE on a table that nobody sees any more; the counts of its rows are another's for a moment.
_DROP_LOCK_TIMEOUT = "5s"
_SLICE = timedelta(hours=1)
_NOTE = text("SELECT coalesce(obj_description(to_regclass(:name), 'pg_class'), '')")
_INSERTS = text("SELECT pg_stat_get_tuples_inserted(to_regclass(:name))")


@dataclass(frozen=True, slots=True)
class Done:
    """A step and what became of it: rows deleted (None: the partition as a whole), and why it failed, if it did."""

    step: Step
    rows: int | None = None
    failed: str = ""


async def plan(engine: AsyncEngine, now: datetime) -> list[Step]:
    """Return what retention would do now. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            return await _plan(connection, now)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def apply(engine: AsyncEngine, now: datetime, seconds_max: float) -> list[Done]:
    """Carry out what is to be done now; return it. [] where another does it at this moment, or nothing is to be done.

    Each step is planned again right before it. Past ``seconds_max`` no step is begun, and a deletion goes on the next
    time. A step that fails costs itself alone. ``engine`` is the owner's. Raises StoreError.
    """
    deadline_s = time.monotonic() + seconds_max
    try:
        async with engine.connect() as raw:
            connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
            if not (
                await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": lock_keys.RETENTION})
            ).scalar_one():
                return []
            try:
                await connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
                return await _apply(engine, connection, now, deadline_s)
            finally:
                await _let_go(connection)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def _let_go(connection: AsyncConnection) -> None:
    """Give the lock back; a session that cannot do so any more is ended, and the lock with it."""
    try:
        await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": lock_keys.RETENTION})
        await connection.execute(text("RESET lock_timeout"))
    except (SQLAlchemyError, OSError):
        await connection.invalidate()


async def _plan(connection: AsyncConnection, now: datetime) -> list[Step]:
    known = [found.rule for found in await rules_of(connection)]
    return steps(await held_of(connection, known, now), known, now)


async def _apply(engine: AsyncEngine, connection: AsyncConnection, now: datetime, deadline_s: float) -> list[Done]:
    done: list[Done] = []
    tried: set[tuple[str, str]] = set()
    while time.monotonic() < deadline_s:
        # What is done may ask for more: a detach that was ended is dropped, a partition that was emptied is, too.
        step = next((s for s in await _plan(connection, now) if (s.kind, s.name) not in tried), None)
        if step is None:
            break
        tried.add((step.kind, step.name))
        try:
            done.append(await _carry_out(engine, connection, step, deadline_s))
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            done.append(Done(step, failed=reason(error)))
    return done


async def _carry_out(engine: AsyncEngine, connection: AsyncConnection, step: Step, deadline_s: float) -> Done:
    if step.kind == "finalize":
        await connection.execute(text(f'ALTER TABLE {step.table} DETACH PARTITION "{step.name}" FINALIZE'))
    elif step.kind == "drop":
        await _detach(connection, step)
        await _drop(engine, step)
    elif step.kind == "drop detached":
        await _drop(engine, step)
    elif step.kind == "delete":
        return Done(step, await _delete(engine, connection, step, deadline_s))
    return Done(step)


async def _detach(connection: AsyncConnection, step: Step) -> None:
    """Mark a partition and detach it; a detach that was not begun leaves no mark."""
    note = note_of((await connection.execute(_NOTE, {"name": f'"{step.name}"'})).scalar_one())
    await _write(connection, step.name, replace(note, expired=True))
    try:
        await connection.execute(text(f'ALTER TABLE {step.table} DETACH PARTITION "{step.name}" CONCURRENTLY'))
    except DBAPIError as error:
        if not error.connection_invalidated and not await _is_detaching(connection, step):
            await _write(connection, step.name, note)
        raise


async def _is_detaching(connection: AsyncConnection, step: Step) -> bool:
    pending = text("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(:name)")
    return bool((await connection.execute(pending, {"name": f'"{step.name}"'})).scalar())


async def _drop(engine: AsyncEngine, step: Step) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"SET LOCAL lock_timeout = '{_DROP_LOCK_TIMEOUT}'"))
        await drop_detached(connection, step.table, step.name, step.bounds)


async def _delete(engine: AsyncEngine, connection: AsyncConnection, step: Step, deadline_s: float) -> int:
    """Delete what the step's split says, an hour of it after the other, some rows a transaction; note when it is whole.

    What is stored meanwhile is seen by the number of rows that were added: the partition is looked through again.
    """
    table = TABLES[step.table]
    inserts = (await connection.execute(_INSERTS, {"name": f'"{step.name}"'})).scalar_one()
    condition = going(table, step.split)
    gone, since = 0, step.bounds.since
    while since < step.bounds.until:
        here = [table.c.time >= since, table.c.time < min(since + _SLICE, step.bounds.until), condition]
        if time.monotonic() >= deadline_s:
            return gone
        async with engine.begin() as transaction:
            count = await delete_rows(transaction, table, here, ROWS_A_TRANSACTION)
        gone += count
        since += _SLICE if count < ROWS_A_TRANSACTION else timedelta(0)
    note = note_of((await connection.execute(_NOTE, {"name": f'"{step.name}"'})).scalar_one())
    await _write(connection, step.name, replace(note, digest=step.split.digest(), inserts=inserts))
    return gone


async def _write(connection: AsyncConnection, name: str, note: Note) -> None:
    await connection.execute(text(f"COMMENT ON TABLE \"{name}\" IS '{note.comment()}'"))
