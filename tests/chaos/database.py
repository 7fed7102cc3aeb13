"""A PostgreSQL of the run's own, which it may kill, freeze and fill. The receiver knows only its URL, by the proxy."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from storage import embedded
from storage.errors import RetryableStoreError
from tests.chaos.disk import SmallDisk

_START_TIMEOUT_S = 90.0
# Small, so that checkpoints and recovery happen often, and so that its own write-ahead log never fills the disk.
_SETTINGS = {"max_wal_size": "256MB", "checkpoint_timeout": "30s"}


class Database:
    """One cluster below ``directory``; on ``disk`` where one is given."""

    def __init__(self, directory: Path, disk: SmallDisk | None) -> None:
        self._directory = directory
        self.disk = disk
        self._server: embedded.EmbeddedPostgres | None = None
        directory.mkdir(parents=True, exist_ok=True)
        if disk is not None:
            # Where the embedded server looks for its cluster; a link that is there is followed.
            (directory / "postgres").symlink_to(disk.path / "postgres")

    async def start(self) -> None:
        """Start it, or start it again; return once it takes connections. Raises RetryableStoreError after 90 s."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_TIMEOUT_S
        while True:
            try:
                await self._release()
                self._server = await embedded.start(self._directory)
            except RetryableStoreError:
                # After a kill the last of its processes may hold its shared memory for a moment.
                if loop.time() > deadline:
                    raise
            else:
                break
            await asyncio.sleep(0.2)

    async def configure(self) -> None:
        """Make checkpoints frequent; in effect from the next start or reload."""
        with self.connect() as connection:
            for name, value in _SETTINGS.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection past the proxy, each statement committed."""
        assert self._server is not None
        return psycopg.connect(self._server.url.replace("+psycopg", ""), autocommit=True, connect_timeout=20)

    def url_by(self, port: int) -> str:
        """Return the URL for the receiver: the same cluster by a proxy on ``port`` of loopback."""
        assert self._server is not None
        user = urlsplit(self._server.url).netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{port}/otel_ingest?sslmode=disable&gssencmode=disable"

    @property
    def socket(self) -> str:
        """The path of its Unix socket."""
        assert self._server is not None
        return str(embedded._socket_dir(self._server.cluster) / ".s.PGSQL.5432")

    def processes(self) -> list[int]:
        """Return the pids of the postmaster (first) and of its children; empty when it is not running."""
        assert self._server is not None
        postmaster = embedded._running_pid(self._server.cluster)
        return [] if postmaster is None else [postmaster, *_children(postmaster)]

    def is_running(self) -> bool:
        """Whether its postmaster lives."""
        return bool(self.processes())

    def kill(self) -> None:
        """SIGKILL to all of it, postmaster first: nobody is left to tidy up."""
        _signal_all(self.processes(), signal.SIGKILL)

    def kill_backends(self) -> None:
        """SIGKILL to its backends alone: the postmaster takes it for a crash and recovers by itself."""
        _signal_all(_backends(self.processes()[1:]), signal.SIGKILL)

    def stop_immediate(self) -> None:
        """Stop without a checkpoint (pg_ctl stop -m immediate)."""
        _signal_all(self.processes()[:1], signal.SIGQUIT)

    def freeze(self) -> None:
        """SIGSTOP to all of it."""
        _signal_all(self.processes(), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to all of it."""
        _signal_all(self.processes(), signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
        """Yield a connection that does not hold up the proxy, which lives in the same event loop."""
        assert self._server is not None
        url = self._server.url.replace("+psycopg", "")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=20) as connection:
            yield connection

    async def set_read_only(self, *, on: bool) -> None:
        """Have transactions refuse to write from their next beginning on, as on a standby after a failover."""
        async with self._session() as connection:
            await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
            await connection.execute("SELECT pg_reload_conf()")

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the lock that ALTER TABLE takes: nobody reads or writes log records and spans meanwhile."""
        async with self._session() as connection, connection.transaction():
            await connection.execute("LOCK TABLE log_records, spans IN ACCESS EXCLUSIVE MODE")
            yield

    def log_tail(self) -> str:
        """Return the end of its log."""
        assert self._server is not None
        path = self._server.cluster.pgdata.resolve().parent / "postgres.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    async def close(self) -> None:
        """Stop it and remove its cluster."""
        if self._server is None:
            return
        self.thaw()
        home = self._server.cluster.pgdata.resolve().parent
        await self._release()
        shutil.rmtree(home, ignore_errors=self.disk is not None)

    async def _release(self) -> None:
        """Give back what the last start took, so that the next one may take it."""
        if self._server is not None:
            await self._server.stop()


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _backends(pids: list[int]) -> list[int]:
    """Return those that serve a client: their title says so ("postgres: otel_ingest …")."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres: otel_ingest otel_ingest"):
                found.append(pid)
    return found


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
