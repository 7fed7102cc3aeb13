"""The frame of a write transaction: how few round trips it takes, and which sessions it can rely on.

BEGIN goes with the first statement and COMMIT with the last one, each pair in one round trip (libpq's pipeline mode).
Sessions are of a pool of their own that does not ask them whether they are alive (``engine.writers_of``): one that
ended while it was idle is noticed by its first statement, and the transaction begins on another, having stored nothing.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection as PsycopgConnection
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dberrors import is_disconnect, is_stale_plan, may_be_committed
from storage.errors import OutcomeUnknown, RetryableStoreError

Statement = tuple[bytes, Sequence[object]]
"""SQL and its parameters."""

_USED = "otel_ingest_used"


async def driver_of(connection: AsyncConnection) -> PsycopgConnection[tuple[Any, ...]]:
    """Return the psycopg connection below a SQLAlchemy one: SQLAlchemy's part of a statement is a third of a ms."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, PsycopgConnection)  # noqa: S101 - the engine is made for psycopg alone
    return driver


async def was_used(connection: AsyncConnection) -> bool:
    """Return whether its session served a transaction before this one, after which it may have ended; note that."""
    info = (await connection.get_raw_connection()).info
    used = _USED in info
    info[_USED] = True
    return used


async def execute(
    connection: AsyncConnection, statement: bytes, parameters: Mapping[str, object] | Sequence[object]
) -> tuple[Any, ...] | None:
    """Execute a statement of a write transaction, with BEGIN where none is begun; return its first row."""
    driver = await driver_of(connection)
    async with driver.cursor() as cursor:
        if _is_begun(driver):
            await cursor.execute(statement, parameters, prepare=True)
        else:
            async with driver.pipeline():
                await driver.execute(b"BEGIN", prepare=False)
                await cursor.execute(statement, parameters, prepare=True)
        return await cursor.fetchone()


async def begin(connection: AsyncConnection) -> None:
    """Begin where nothing did: for statements that do not go through ``execute``."""
    driver = await driver_of(connection)
    if not _is_begun(driver):
        await driver.execute(b"BEGIN", prepare=False)


def _is_begun(driver: PsycopgConnection[tuple[Any, ...]]) -> bool:
    """Whether there is a transaction, or psycopg begins one by itself."""
    return not driver.autocommit or driver.pgconn.transaction_status != TransactionStatus.IDLE


async def gone(connection: AsyncConnection, error: BaseException) -> bool:
    """Return whether the session ended, and take it out of the pool if so: the next statement has another one."""
    if not (connection.invalidated or is_disconnect(error)):
        return False
    await connection.invalidate(error)
    await connection.rollback()  # for SQLAlchemy; there is nobody to tell
    return True


async def commit(connection: AsyncConnection, last: Statement | None, transaction: str) -> None:
    """Execute the last statement, if there is one, and COMMIT: one round trip.

    ``transaction`` names it (``storage.transactions.reference``). Raises what PostgreSQL says of the last statement or
    of COMMIT, and nothing is committed; OutcomeUnknown where the session ended before it answered both.
    """
    driver = await driver_of(connection)
    try:
        async with driver.cursor() as cursor:
            async with driver.pipeline():
                if last is not None:
                    await cursor.execute(*last, prepare=True)
                # Where that one fails PostgreSQL does not look at this one.
                committing = await driver.execute(b"COMMIT", prepare=False)
            if committing.statusmessage != "COMMIT":
                raise RetryableStoreError(f"PostgreSQL answered COMMIT with {committing.statusmessage}")
    except (psycopg.Error, OSError) as error:
        await undo(connection, error)
        if not may_be_committed(error):
            raise
        raise OutcomeUnknown("the connection broke during COMMIT", transaction=transaction) from error


async def undo(connection: AsyncConnection, error: BaseException) -> None:
    """Roll back after ``error``; what broke the transaction is the error to hear of, not that it cannot be undone.

    A session that cannot roll back, or has prepared statements of a schema that changed, is not used again.
    """
    if connection.invalidated:
        return
    sound = False
    with contextlib.suppress(psycopg.Error, SQLAlchemyError, OSError):
        driver = await driver_of(connection)
        await driver.rollback()
        sound = driver.pgconn.transaction_status == TransactionStatus.IDLE
    if not sound or is_stale_plan(error):
        await connection.invalidate()
