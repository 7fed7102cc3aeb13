"""The embedded PostgreSQL: who owns it, what survives, what is refused."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage import embedded
from storage.errors import PermanentStoreError, RetryableStoreError

# Starts a cluster, writes a row and dies without any goodbye, as a server under kill -9 does.
CRASH = """
import asyncio, os, pathlib, signal, sys, psycopg
from storage import embedded
async def main():
    server = await embedded.start(pathlib.Path(sys.argv[1]))
    with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Yield a data directory with a short path; remove it and what a start as root put elsewhere."""
    path = Path(tempfile.mkdtemp(prefix="oi-"))
    try:
        yield path
    finally:
        link = path / "postgres"
        if link.is_symlink():
            shutil.rmtree(link.resolve().parent, ignore_errors=True)
        shutil.rmtree(path)


def connect(server: embedded.EmbeddedPostgres) -> "psycopg.Connection[tuple[object, ...]]":
    """Return a connection to the cluster."""
    return psycopg.connect(server.url.replace("+psycopg", ""))


def postmaster(data_dir: Path) -> int:
    """Return the pid that the cluster has written."""
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


async def test_a_second_start_is_refused_and_harms_nothing(data_dir: Path) -> None:
    """One owner a data directory: the other gets a sentence, the first keeps its PostgreSQL."""
    first = await embedded.start(data_dir)
    try:
        with pytest.raises(PermanentStoreError, match="another server"):
            await embedded.start(data_dir)
        assert embedded.connection_url(data_dir) == first.url
        with connect(first) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        await first.stop()
    with pytest.raises(RetryableStoreError, match="not running"):
        embedded.connection_url(data_dir)


async def test_what_a_killed_server_left_is_taken_over(data_dir: Path) -> None:
    """A server under kill -9 leaves PostgreSQL running: the next start owns it, has its data, and stops it."""
    crash = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", CRASH, str(data_dir)], timeout=60, check=False
    )
    assert crash.returncode == -signal.SIGKILL
    left = postmaster(data_dir)

    server = await embedded.start(data_dir)
    try:
        assert postmaster(data_dir) == left
        with connect(server) as connection:
            assert connection.execute("SELECT x FROM kept").fetchone() == (1,)
    finally:
        await server.stop()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


async def test_a_stale_pid_file_does_not_matter(data_dir: Path) -> None:
    """PostgreSQL itself under kill -9: the pid file stays, the next start recovers what was committed."""
    server = await embedded.start(data_dir)
    with connect(server) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    os.kill(postmaster(data_dir), signal.SIGKILL)
    await server.stop()
    assert (data_dir / "postgres" / "postmaster.pid").exists()

    server = await embedded.start(data_dir)
    try:
        with connect(server) as connection:
            assert connection.execute("SELECT x FROM kept").fetchone() == (1,)
    finally:
        await server.stop()


async def test_a_start_that_fails_leaves_nothing(data_dir: Path) -> None:
    """A setting that PostgreSQL refuses: its log is quoted, nothing runs, and the lock is free again."""
    await (await embedded.start(data_dir)).stop()
    conf = data_dir / "postgres" / "postgresql.auto.conf"
    kept = conf.read_text()
    conf.write_text("nonsense = 1\n")

    with pytest.raises(RetryableStoreError, match="nonsense"):
        await embedded.start(data_dir)

    conf.write_text(kept)
    await (await embedded.start(data_dir)).stop()


async def test_data_of_another_major_version_is_left_alone(data_dir: Path) -> None:
    """The guard speaks before PostgreSQL is started."""
    await (await embedded.start(data_dir)).stop()
    (data_dir / "postgres" / "PG_VERSION").write_text("14\n")

    with pytest.raises(PermanentStoreError, match="PostgreSQL 14"):
        await embedded.start(data_dir)


async def test_data_that_are_gone_are_not_taken_for_none(data_dir: Path) -> None:
    """The directory that the link leads to is not mounted: told, with both ways on; nothing is made in its place."""
    elsewhere = data_dir / "disk" / "store"
    (data_dir / "postgres").symlink_to(elsewhere / "postgres")

    with pytest.raises(PermanentStoreError, match="is gone: mount or restore it; or remove the link"):
        await embedded.start(data_dir)
    assert not elsewhere.parent.exists()

    (data_dir / "postgres").unlink()
    await (await embedded.start(data_dir)).stop()


async def test_it_is_private_and_durable(data_dir: Path) -> None:
    """Nothing on TCP, a password asked for, files of mode 0600, and no durability traded for speed."""
    server = await embedded.start(data_dir)
    try:
        with connect(server) as connection:
            shown = {
                name: connection.execute(f"SHOW {name}").fetchone()
                for name in ("listen_addresses", "fsync", "synchronous_commit", "full_page_writes", "data_checksums")
            }
            methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
    finally:
        await server.stop()

    assert shown == {
        "listen_addresses": ("",),
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "full_page_writes": ("on",),
        "data_checksums": ("on",),
    }
    assert methods == [("scram-sha-256",)]
    assert stat.S_IMODE(server.cluster.password_file.stat().st_mode) == 0o600


def test_no_store_is_a_sentence(data_dir: Path) -> None:
    """A command on an empty directory says how to start."""
    with pytest.raises(RetryableStoreError, match="otel-ingest up"):
        embedded.connection_url(data_dir)
