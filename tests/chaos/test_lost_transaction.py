"""A crash of PostgreSQL loses a transaction whole and gives its number to another one, which commits."""

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import migrate
from storage.config import StorageConfig
from storage.engine import AsyncEngine, write_engine
from storage.transactions import outcome_of, reference, xmin_of
from tests.chaos.database import Database

_WRITE = text(
    "INSERT INTO request_digests_0 (digest, time, rejected) VALUES (gen_random_uuid(), now(), 0)"
    " RETURNING CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    """Yield a migrated PostgreSQL that may be killed."""
    with tempfile.TemporaryDirectory(prefix="oi-") as directory:
        Path(directory).chmod(0o711)  # noqa: ASYNC240
        database = Database(Path(directory) / "pg", None)
        try:
            await database.start()
            await migrate.upgrade(engine_url(database))
            yield database
        finally:
            await database.close()


def engine_url(database: Database) -> str:
    """Return its URL past any proxy."""
    assert database._server is not None
    return database._server.url


async def write(engine: AsyncEngine) -> int:
    """Commit a transaction; return its number."""
    async with engine.begin() as connection:
        return int((await connection.execute(_WRITE)).scalar_one())


@pytest.mark.parametrize("crash", [Database.kill, Database.kill_backends])
async def test_another_transaction_of_its_number_is_not_taken_for_it(
    crash: Callable[[Database], None], database: Database
) -> None:
    """Its outcome is unknown then, not committed: a spooled request that asks for it is stored, not dropped."""
    engine = write_engine(StorageConfig(engine_url(database)))
    connection = await engine.connect()
    await connection.begin()
    named = await reference(connection, int((await connection.execute(_WRITE)).scalar_one()))
    crash(database)
    await connection.invalidate()
    await connection.close()
    await engine.dispose()
    await database.start()

    engine = write_engine(StorageConfig(engine_url(database)))
    numbers = [await write(engine) for _ in range(3)]
    assert xmin_of(named) in numbers, "the number was not given again: this test shows nothing"
    assert await outcome_of(engine, named) == "unknown"

    async with engine.begin() as connection:
        later = await reference(connection, int((await connection.execute(_WRITE)).scalar_one()))
    assert await outcome_of(engine, later) == "committed"
    await engine.dispose()
