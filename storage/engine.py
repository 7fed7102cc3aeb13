"""Makes the two engines; nothing else may call ``create_async_engine``."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from storage.config import StorageConfig
from storage.errors import PermanentStoreError

__all__ = ["AsyncEngine", "psycopg_url", "read_engine", "write_engine"]


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


def write_engine(config: StorageConfig) -> AsyncEngine:
    """Return the engine of the write side: a connection a writer, one for upkeep, one for tokens."""
    return _engine(config, pool_size=config.writers + 2, timeout_s=config.write_timeout_s, options="")


def read_engine(config: StorageConfig) -> AsyncEngine:
    """Return the engine of the read side; its transactions cannot write."""
    return _engine(
        config,
        pool_size=config.readers,
        timeout_s=config.read_timeout_s,
        options="-c default_transaction_read_only=on",
    )


def _engine(config: StorageConfig, *, pool_size: int, timeout_s: float, options: str) -> AsyncEngine:
    settings = f"-c timezone=UTC -c statement_timeout={int(timeout_s * 1000)} {options}"
    return create_async_engine(
        psycopg_url(config.url),
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=config.connect_timeout_s,
        hide_parameters=True,
        connect_args={
            "connect_timeout": config.connect_timeout_s,
            "application_name": "otel-ingest",
            "options": settings.strip(),
        },
    )
