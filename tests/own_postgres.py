"""A PostgreSQL of the test's own, which it may stop and freeze, and a receiver that knows only its URL."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import harness
from tests.chaos.database import Database

# The machine may be busy; what is waited for comes in a second or two on a quiet one.
PATIENCE_S = 60.0


class OwnPostgres:
    """A PostgreSQL of the test's own, for a receiver that knows only its URL."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory, None)
        self.start()
        assert self._database._server is not None
        self.url = self._database._server.url.replace("+psycopg", "")

    def start(self) -> None:
        """Start it, or start it again."""
        asyncio.run(self._database.start())

    def stop(self) -> None:
        """Stop it at once, without a checkpoint."""
        self._database.stop_immediate()
        until(lambda: not self._database.is_running())

    def freeze(self) -> None:
        """Let it answer nothing any more."""
        self._database.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._database.thaw()

    def bodies(self) -> list[str]:
        """Return the bodies of all log records that are stored."""
        with self._database.connect() as connection:
            return [str(row[0]) for row in connection.execute("SELECT body FROM log_records ORDER BY id")]

    def execute(self, statement: str) -> None:
        """Execute one statement."""
        with self._database.connect() as connection:
            connection.execute(statement.encode())

    def close(self) -> None:
        """Stop it and remove it."""
        asyncio.run(self._database.close())


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, bounded."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def receiver(tmp_path: Path, database: OwnPostgres, **environment: str) -> Iterator[harness.Server]:
    """Run a receiver on ``database``."""
    with harness.running(tmp_path / "data", OTEL_INGEST_DATABASE_URL=database.url, **environment) as server:
        yield server
