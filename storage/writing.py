"""The frame of a write transaction: how few round trips it takes, and which sessions it can rely on.

BEGIN goes with the first statement and COMMIT with the last one, each pair in one round trip (``storage.round_trip``).
Sessions are of a pool of their own that does not ask them whether they are alive (``engine.writers_of``): one that
ended while it was idle is noticed by its first statement, and the transaction begins on another, having stored nothing.
"""

import contextlib
from collections.abc import Sequence

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dberrors import is_disconnect, is_stale_plan, may_be_committed
from storage.errors import OutcomeUnknown, RetryableStoreError
from storage.round_trip import Statement, driver_of, round_trip

_BEGIN: Statement = (b"BEGIN", ())
_COMMIT: Statement = (b"COMMIT", ())
_USED = "otel_ingest_used"


async def was_used(connection: AsyncConnection) -> bool:
    """Return whether its session served a transaction before this one, after which it may have ended; note that."""
    info = (await connection.get_raw_connection()).info
    used = _USED in info
    info[_USED] = True
    return used


async def execute(connection: AsyncConnection, sql: bytes, parameters: Sequence[bytes]) -> PGresult:
    """Execute a statement of a write transaction, with BEGIN where none is begun; return its result."""
    statement = (sql, parameters)
    return (await round_trip(connection, *([] if _is_begun(connection) else [_BEGIN]), statement))[-1]


async def begin(connection: AsyncConnection) -> None:
    """Begin where nothing did: for statements that do not go through ``execute``."""
    if not _is_begun(connection):
        await round_trip(connection, _BEGIN)


def _is_begun(connection: AsyncConnection) -> bool:
    return driver_of(connection).pgconn.transaction_status != TransactionStatus.IDLE


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
    try:
        *_, committed = await round_trip(connection, *([] if last is None else [last]), _COMMIT)
        if committed.command_status != b"COMMIT":
            raise RetryableStoreError(f"PostgreSQL answered COMMIT with {committed.command_status!r}")
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
        driver = driver_of(connection)
        await driver.rollback()
        sound = driver.pgconn.transaction_status == TransactionStatus.IDLE
    if not sound or is_stale_plan(error):
        await connection.invalidate()
