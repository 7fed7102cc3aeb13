"""The one table from PostgreSQL's errors to ours: the SQLSTATE says whether trying again helps."""

import re

import psycopg
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import PermanentStoreError, QueryTimeout, RetryableStoreError, StoreError

# By class of SQLSTATE (PostgreSQL documentation, appendix A): 28 authorization, 3D/3F/42 missing database, schema,
# table or right, 0A not supported. Everything else may pass: 08 connection, 40 rollback, 53 resources, 55 locks,
# 57 shutdown or cancel, 58 system, 25006 read-only.
_REFUSED = re.compile(r"(?:FATAL|ERROR): +(.+)|(Connection refused|No such file or directory|timeout expired)")
_PERMANENT_CLASSES = frozenset({"28", "3D", "3F", "42", "0A"})


def is_data_error(error: BaseException) -> bool:
    """Whether a row itself is at fault, so that the others may be stored without it."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    # Class 54 is a limit that one value ran into: an index entry too long, JSON nested too deep.
    over_limit = (getattr(cause, "sqlstate", None) or "").startswith("54")
    return over_limit or isinstance(cause, psycopg.DataError | psycopg.IntegrityError)


def is_disconnect(error: BaseException) -> bool:
    """Whether the session is over, so that nothing of its transaction is left."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    return state is None or state.startswith(("57P", "08"))


def may_be_committed(error: BaseException) -> bool:
    """Whether a COMMIT that failed with ``error`` may have committed: the server did not answer it with an error.

    57P0x ends a session that is stopped while it waits for a synchronous standby, its transaction committed.
    """
    return is_disconnect(error)


def is_stale_plan(error: BaseException) -> bool:
    """Whether a statement prepared on this connection is of a schema that a migration changed since.

    "cached plan must not change result type", known by its place in PostgreSQL's source: the text is translated.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, pg.FeatureNotSupported) and cause.diag.source_function == "RevalidateCachedQuery"


def translate(error: BaseException, *, reading: bool = False) -> StoreError:
    """Return what an error of SQLAlchemy or psycopg means to a caller; its text names no values and no URL.

    ``reading``: a statement that was cancelled at its time limit asked too much; a write is to be tried again.
    """
    if isinstance(error, PoolTimeoutError):
        return RetryableStoreError("no connection to PostgreSQL was free in time")
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(cause, pg.QueryCanceled) and reading:
        return QueryTimeout("the statement took longer than its time limit; narrow the window or the filters")
    if is_stale_plan(error):
        return RetryableStoreError("the schema was just migrated")
    if state[:2] in _PERMANENT_CLASSES:
        return PermanentStoreError(_permanent(cause, state))
    if "password authentication failed" in str(cause):
        return PermanentStoreError("PostgreSQL refused the credentials of the database URL")
    if isinstance(cause, psycopg.Error | SQLAlchemyError | OSError):
        return RetryableStoreError(f"PostgreSQL cannot be used now: {reason(cause)}")
    raise error


def _permanent(cause: object, state: str) -> str:
    if state in {"42P01", "42703", "42883"}:
        return "the schema is missing or old; run `otel-ingest migrate`"
    return f"PostgreSQL refused (SQLSTATE {state}): {reason(cause)}"


def reason(error: object) -> str:
    """Return PostgreSQL's own first line: never its DETAIL, which may quote a row."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    message = getattr(getattr(cause, "diag", None), "message_primary", None)
    if message:
        return str(message)
    # A connection that was not made has no fields, only a text with the address in it.
    refused = _REFUSED.search(str(cause))
    return (refused[1] or refused[2]) if refused else type(cause).__name__
