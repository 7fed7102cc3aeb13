"""Migrations on real PostgreSQL: several servers at once, the alembic command, and a schema of the future."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import migrate, partitions
from storage.errors import PermanentStoreError

ROOT = Path(__file__).resolve().parents[2]


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run alembic as a user does, with nothing but the URL."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "OTEL_INGEST_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_servers_may_migrate_at_the_same_time(empty_database_url: str) -> None:
    """Three start on an empty database: one migrates, the others wait and find it done."""
    await asyncio.gather(*(migrate.upgrade(empty_database_url) for _ in range(3)))

    await migrate.check(empty_database_url)


async def test_the_command_goes_up_and_down_with_partitions(engine: AsyncEngine, database_url: str) -> None:
    """Check is clean beside partitions; downgrade to base leaves nothing but Alembic's own table; up again works."""
    await partitions.maintain(engine, datetime.now(UTC), ahead=1)
    await engine.dispose()

    for arguments in (("check",), ("downgrade", "base")):
        assert (result := alembic(database_url, *arguments)).returncode == 0, result.stderr
    with psycopg.connect(database_url) as connection:
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')"
        ).fetchall()
    assert left == [("alembic_version",)]
    assert (result := alembic(database_url, "upgrade", "head")).returncode == 0, result.stderr


async def test_urls_are_taken_in_every_spelling(empty_database_url: str) -> None:
    """postgres:// and postgresql+psycopg:// mean the same as postgresql://."""
    for scheme in ("postgres", "postgresql+psycopg"):
        await migrate.upgrade(empty_database_url.replace("postgresql", scheme, 1))


async def test_a_schema_of_a_newer_release_is_a_clear_error(database_url: str) -> None:
    """A revision that this release does not know: permanent, and the sentence names it."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(PermanentStoreError, match="9999"):
        await migrate.upgrade(database_url)
