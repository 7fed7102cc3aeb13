"""Makes the two engines; nothing else may call ``create_async_engine``."""

import contextlib
import os
import socket
from typing import Any

import orjson
from psycopg.pq import Format
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from storage.config import StorageConfig
from storage.errors import PermanentStoreError

__all__ = [
    "AsyncEngine",
    "cold_url",
    "erase_engine",
    "psycopg_url",
    "read_engine",
    "session_options",
    "sql_engine",
    "write_engine",
    "writers_of",
]

BINARY = "otel_ingest_binary"
"""Execution option: PostgreSQL sends the columns of the answer in their binary forms. Bytes are half as many then."""

_COLD_URL = "otel_ingest_cold_url"
# By default 208 KiB, of which a quarter is left when we hear that there is room: 1 ms of COPY, and our event loop is
# busy for longer. Linux doubles it and has a limit of its own (net.core.wmem_max); over TCP it finds a size by itself.
_UNIX_SEND_BYTES = 1024 * 1024
_WRITERS = "otel_ingest_writers"
# What a database or a role may have set otherwise, and what our SQL, COPY and the reading of answers rely on.
_SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "client_encoding": "UTF8",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    # A claim of a request's key waits for the other transaction and then sees what it committed (storage.digests).
    "default_transaction_isolation": r"read\ committed",
}


# A peer that is gone without a word is noticed within half a minute; the kernels' defaults are two hours, and fifteen
# minutes for what was sent. Unix sockets do not need them and ignore them.
NETWORK_THAT_SAYS_NOTHING = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def session_options(**more: str) -> str:
    """Return the ``options`` of a connection: the settings of every session of ours, and ``more``."""
    return " ".join(f"-c {name}={value}" for name, value in (_SESSION | more).items())


def psycopg_url(url: str) -> URL:
    """Return the SQLAlchemy URL for psycopg 3; ``postgres://`` and ``postgresql://`` are taken as well.

    Raises PermanentStoreError for anything that is not a PostgreSQL URL; the URL itself is never repeated.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise PermanentStoreError("the database URL is not a URL; expected postgresql://…") from error
    if parsed.drivername.split("+")[0] not in {"postgresql", "postgres"}:
        raise PermanentStoreError(f"the database URL begins with {parsed.drivername}://; expected postgresql://…")
    return parsed.set(drivername="postgresql+psycopg")


def cold_url(connection: AsyncConnection) -> str:
    """Return where the cold files of a connection's store are (``StorageConfig.cold_url``); empty: not known."""
    connected = connection.sync_connection
    return str(connected.get_execution_options().get(_COLD_URL, "")) if connected is not None else ""


def write_engine(config: StorageConfig) -> AsyncEngine:
    """Return the engine of the write side: a connection each for upkeep, counts, tokens and the making of days.

    With it come, and go, those of the writers (``writers_of``).
    """
    engine, writers = (
        _engine(
            config,
            pool_size=size,
            timeout_s=config.write_timeout_s,
            asks_first=not writes,
            says_begin=writes,
            lock_timeout=_ms(config.lock_timeout_s),
            # A receiver that is frozen inside a transaction must not keep its keys from others for ever.
            idle_in_transaction_session_timeout=_ms(config.write_timeout_s),
        )
        for size, writes in ((4, False), (config.writers, True))
    )
    for each in (engine, writers):
        event.listen(each.sync_engine, "connect", _make_durable)
    event.listen(writers.sync_engine, "connect", _widen)
    event.listen(engine.sync_engine, "engine_disposed", lambda _: writers.sync_engine.dispose())
    engine.update_execution_options(**{_WRITERS: writers})
    return engine


def writers_of(engine: AsyncEngine) -> AsyncEngine:
    """Return the connections of a write engine's writers, who say BEGIN themselves (``storage.writing``)."""
    writers = engine.sync_engine.get_execution_options()[_WRITERS]
    assert isinstance(writers, AsyncEngine)  # noqa: S101 - it is ours
    return writers


def read_engine(config: StorageConfig) -> AsyncEngine:
    """Return the engine of the read side; its transactions cannot write."""
    engine = _engine(
        config,
        pool_size=config.readers,
        timeout_s=config.read_timeout_s,
        # A session that is gone is noticed by the first statement of a question, which is then sent once more.
        asks_first=False,
        default_transaction_read_only="on",
    )
    event.listen(engine.sync_engine, "before_cursor_execute", _in_binary)
    return engine


def sql_engine(config: StorageConfig) -> AsyncEngine:
    """Return the engine of logger_sql: two statements at a time, each read-only and short."""
    return _engine(config, pool_size=2, timeout_s=config.sql_timeout_s, default_transaction_read_only="on")


def erase_engine(config: StorageConfig) -> AsyncEngine:
    """Return the engine of deletion on demand: two at a time, each statement with the time a write has."""
    return _engine(
        config,
        pool_size=2,
        timeout_s=config.write_timeout_s,
        lock_timeout=_ms(config.lock_timeout_s),
        idle_in_transaction_session_timeout=_ms(config.write_timeout_s),
    )


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))


def _make_durable(connection: Any, _record: object) -> None:
    """Have COMMIT wait for the disk where a database or a role says that it need not; never weaken what is stronger."""
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _widen(connection: Any, _record: object) -> None:
    """Let the kernel take more of a COPY at once over a Unix socket; one that does not is as good, and slower."""
    if not hasattr(socket, "AF_UNIX"):
        return
    with socket.socket(fileno=os.dup(connection.driver_connection.pgconn.socket)) as sock, contextlib.suppress(OSError):
        if sock.family == socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNIX_SEND_BYTES)


def _in_binary(_connection: object, cursor: Any, *rest: Any) -> None:
    """Have psycopg ask for binary forms where the statement says so; ``rest``: …, context, many."""
    if rest[-2].execution_options.get(BINARY):
        cursor._cursor.format = Format.BINARY  # noqa: SLF001 - SQLAlchemy has no way to say it


def _engine(
    config: StorageConfig,
    *,
    pool_size: int,
    timeout_s: float,
    asks_first: bool = True,
    says_begin: bool = False,
    **settings: str,
) -> AsyncEngine:
    if config.role is not None:
        settings["role"] = config.role
    options = session_options(statement_timeout=_ms(timeout_s), **settings)
    return create_async_engine(
        psycopg_url(config.url),
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=asks_first,
        isolation_level="AUTOCOMMIT" if says_begin else None,
        pool_timeout=config.connect_timeout_s,
        hide_parameters=True,
        execution_options={_COLD_URL: config.cold_url},
        # A double past 2^53 comes out of jsonb without its point: read as an integer no door could write it again.
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": config.connect_timeout_s,
            "application_name": "otel-ingest",
            **NETWORK_THAT_SAYS_NOTHING,
            **({"prepare_threshold": None} if says_begin else {}),
            "options": options,
        },
    )
