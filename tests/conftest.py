"""What all tests share: a clean environment, one PostgreSQL a run, a migrated database a test."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import embedded, migrate
from storage.config import StorageConfig
from storage.engine import write_engine

for _name in [n for n in os.environ if n.startswith(("OTEL_", "PG"))]:
    del os.environ[_name]

_TEMPLATE = "otel_ingest_template"
# The zone that every database of the run has, as `make test-zones` sets it; empty: PostgreSQL's own.
TEST_TIMEZONE = os.environ.get("TEST_TIMEZONE", "")


def _sync_url(url: str, database: str) -> str:
    """Return a libpq URL of another database on the same server."""
    return url.replace("+psycopg", "").replace("/otel_ingest?", f"/{database}?")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start the embedded PostgreSQL of this run, with a migrated template; yield its URL."""
    # A short path: a Unix socket's name holds 107 bytes.
    data_dir = Path(tempfile.mkdtemp(prefix="oi-"))
    server = asyncio.run(embedded.start(data_dir))
    try:
        with psycopg.connect(_sync_url(server.url, "postgres"), autocommit=True) as connection:
            if TEST_TIMEZONE:
                connection.execute(sql.SQL("ALTER SYSTEM SET timezone = {}").format(sql.Literal(TEST_TIMEZONE)))
                connection.execute("SELECT pg_reload_conf()")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        asyncio.run(migrate.upgrade(_sync_url(server.url, _TEMPLATE)))
        yield server.url
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(server.cluster.pgdata.resolve().parent, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """Yield the URL of a database without any table, gone after the test."""
    yield from _database(postgres, "template1")


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """Yield the URL of a fresh migrated database, gone after the test."""
    yield from _database(postgres, _TEMPLATE)


_made = iter(range(1_000_000))


def _database(postgres: str, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_made)}"
    with psycopg.connect(_sync_url(postgres, "postgres"), autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        yield _sync_url(postgres, name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield a write engine on a fresh migrated database."""
    engine = write_engine(StorageConfig(database_url))
    yield engine
    await engine.dispose()
