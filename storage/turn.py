"""Whose turn it is: what is done for the store by one of any number of receivers, on any number of machines.

The turn is an advisory lock of a session that is kept: PostgreSQL gives it back by itself when its holder is gone.
"""

import contextlib

import psycopg

from storage import lock_keys
from storage.config import StorageConfig
from storage.dberrors import translate
from storage.engine import psycopg_url, session_options


class Turn:
    """The turn at looking after the store; one object a process."""

    def __init__(self, config: StorageConfig) -> None:
        """Take the configuration of the write side."""
        self._config = config
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    async def is_mine(self) -> bool:
        """Whether this process has the turn, or could take it now. Raises StoreError."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._connection.execute("SELECT 1")
                return True
            await self.give_up()
        try:
            return await self._take()
        except (psycopg.Error, OSError) as error:
            raise translate(error) from error

    async def _take(self) -> bool:
        url = psycopg_url(self._config.url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            connect_timeout=self._config.connect_timeout_s,
            application_name="otel-ingest upkeep",
            options=session_options(statement_timeout="10s"),
        )
        row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", [lock_keys.TURN])).fetchone()
        if row is not None and row[0]:
            self._connection = connection
            return True
        await connection.close()
        return False

    async def give_up(self) -> None:
        """Let another have the turn."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._connection.close()
            self._connection = None
