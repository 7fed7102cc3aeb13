"""The engines' sessions: what a database or a role has set otherwise changes nothing for us."""

import psycopg
import pytest
from sqlalchemy import text

from storage.config import StorageConfig
from storage.engine import read_engine, write_engine, writers_of


@pytest.mark.parametrize(("set_to", "found"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_commit_waits_for_the_disk(set_to: str, found: str, database_url: str) -> None:
    """Where a database says that COMMIT need not wait, ours does; what waits for more is left as it is."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = psycopg.sql.Identifier(connection.info.dbname)
        command = psycopg.sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}")
        connection.execute(command.format(name, psycopg.sql.Literal(set_to)))
    engine = write_engine(StorageConfig(database_url))
    try:
        for each in (engine, engine, writers_of(engine)):
            async with each.connect() as session:
                assert (await session.execute(text("SHOW synchronous_commit"))).scalar_one() == found
                await session.rollback()
    finally:
        await engine.dispose()


async def test_reading_cannot_write_whatever_the_database_says(database_url: str) -> None:
    """A database that is read and written by default: the read side still cannot write."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = psycopg.sql.Identifier(connection.info.dbname)
        connection.execute(psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = off").format(name))
    engine = read_engine(StorageConfig(database_url))
    try:
        async with engine.connect() as session:
            assert (await session.execute(text("SHOW transaction_read_only"))).scalar_one() == "on"
    finally:
        await engine.dispose()
