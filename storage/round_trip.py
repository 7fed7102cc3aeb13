"""Several statements to PostgreSQL in one round trip: one send, one wait (libpq's pipeline mode, by psycopg's ``pq``).

psycopg's own pipeline sends each statement by itself, BEGIN in a round trip of its own, and its cursors cost more than
PostgreSQL does for what a write transaction asks: some 0.5 ms of processor each.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from psycopg import AsyncConnection as PsycopgConnection
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import PoolProxiedConnection
from sqlalchemy.ext.asyncio import AsyncConnection

Statement = tuple[bytes, Sequence[bytes]]
"""SQL with $1, $2 …, and the parameters as PostgreSQL's text; arrays too."""

Driver = PsycopgConnection[tuple[Any, ...]]

_PREPARED = "otel_ingest_prepared"


def driver_of(connection: AsyncConnection) -> Driver:
    """Return the psycopg connection below a SQLAlchemy one that is connected."""
    driver = _session_of(connection).driver_connection
    assert isinstance(driver, PsycopgConnection)  # noqa: S101 - the engine is made for psycopg alone
    return driver


def _session_of(connection: AsyncConnection) -> PoolProxiedConnection:
    """Return what ``get_raw_connection`` does, which for a connected one need not go through a greenlet."""
    assert connection.sync_connection is not None  # noqa: S101 - it is connected
    return connection.sync_connection.connection


async def round_trip(connection: AsyncConnection, *statements: Statement) -> list[PGresult]:
    """Execute statements, each where those before it succeeded; return their results. Raises psycopg's errors.

    No transaction is begun but by a statement that does. Prepared once a session where psycopg itself prepares nothing
    there (``prepare_threshold=None``): it ends what is prepared, all of it, with each ROLLBACK.
    """
    driver = driver_of(connection)
    info = _session_of(connection).info
    names = info.setdefault(_PREPARED, {}) if driver.prepare_threshold is None else None
    async with driver.lock:
        return await driver.wait(_steps(driver.pgconn, statements, names))


def _steps(pgconn: PGconn, statements: Sequence[Statement], names: dict[bytes, bytes] | None) -> PQGen[list[PGresult]]:
    """Send all, then read all; whatever is raised in between leaves the session in pipeline mode, of no more use."""
    pgconn.enter_pipeline_mode()
    preparing = [_send(pgconn, sql, parameters, names) for sql, parameters in statements]
    pgconn.pipeline_sync()
    yield from send(pgconn)
    results, failed = [], None
    for (sql, _), name in zip(statements, preparing, strict=True):
        if name is not None and names is not None:
            prepared = yield from _result(pgconn)
            failed = failed or _failed(prepared)
            if prepared.status == ExecStatus.COMMAND_OK:
                names[sql] = name
        results.append((yield from _result(pgconn)))
        failed = failed or _failed(results[-1])
    try:
        yield from fetch_many(pgconn)  # the end of the pipeline
        pgconn.exit_pipeline_mode()
    except errors.Error:
        if failed is None:
            raise
    if failed is not None:
        raise errors.error_from_result(failed)
    return results


def _send(pgconn: PGconn, sql: bytes, parameters: Sequence[bytes], names: dict[bytes, bytes] | None) -> bytes | None:
    """Put a statement into the pipeline; return its name where it is prepared with it."""
    if names is None:
        pgconn.send_query_params(sql, parameters)
        return None
    fresh = None
    if (name := names.get(sql)) is None:
        name = fresh = b"otel_ingest_" + blake2b(sql, digest_size=8).hexdigest().encode()
        pgconn.send_prepare(name, sql)
    pgconn.send_query_prepared(name, parameters)
    return fresh


def _result(pgconn: PGconn) -> PQGen[PGresult]:
    found: list[PGresult] = yield from fetch_many(pgconn)
    if found:
        return found[-1]
    raise errors.OperationalError("the session ended")


def _failed(result: PGresult) -> PGresult | None:
    return result if result.status == ExecStatus.FATAL_ERROR else None
