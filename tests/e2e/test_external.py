"""With OTEL_INGEST_DATABASE_URL the server uses that PostgreSQL, as it is set up, and starts none of its own.

``TEST_POSTGRES_BIN=/usr/lib/postgresql/15/bin`` runs these against another PostgreSQL (15 to 18) than the wheel's.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage import roles
from tests import harness
from tests.e2e.test_up import log_request
from tests.external import postgresql


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the URL of an empty database on a server with stock settings, but for what doctor is to find."""
    with postgresql(fsync="off", synchronous_commit="off") as url:
        yield url


def command(url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours with this database."""
    return subprocess.run(
        [sys.executable, "-m", "otel_ingest", *arguments],
        env=harness.clean_environment(OTEL_INGEST_DATABASE_URL=url, **environment),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_own_postgresql_is_used(url: str, tmp_path: Path) -> None:
    """From an empty database: migrated, stored into, read back; no cluster below the data directory."""
    with harness.running(tmp_path / "data", OTEL_INGEST_DATABASE_URL=url) as server:
        assert server.post("/v1/logs", log_request("into a database of one's own")) == (200, b"{}")
        assert b"into a database of one's own" in server.get("/api/v1/logs?component=shop")
        server.assert_balanced()

    assert server.process.returncode == 0
    assert not (tmp_path / "data" / "postgres").exists()
    assert url not in server.stderr_path.read_text()


def test_roles_are_made_and_taken_on(url: str, tmp_path: Path) -> None:
    """``migrate --roles`` once: the one URL takes the roles on from then, and two users can be told apart."""
    assert (made := command(url, "migrate", "--roles")).returncode == 0, made.stderr
    with harness.running(tmp_path / "data", OTEL_INGEST_DATABASE_URL=url) as server:
        assert server.post("/v1/logs", log_request("as the writer")) == (200, b"{}")
        assert b"as the writer" in server.get("/api/v1/logs?component=shop")
        lines = command(url, "doctor", "--data-dir", str(tmp_path / "data"))
        assert f"as {roles.WRITER} (SET ROLE)" in lines.stdout
        assert f"as {roles.READER} (SET ROLE)" in lines.stdout

    with psycopg.connect(url, autocommit=True) as connection:
        for user in ("app_writer", "app_reader"):
            connection.execute(f"CREATE ROLE {user} LOGIN".encode())
    urls = {
        "OTEL_INGEST_DATABASE_WRITE_URL": url.replace("owner@", "app_writer@"),
        "OTEL_INGEST_DATABASE_READ_URL": url.replace("owner@", "app_reader@"),
    }
    assert (made := command(url, "migrate", "--roles", **urls)).returncode == 0, made.stderr
    token = command(url, "token", "create", "--role", "read", "--name", "agent").stdout.strip()
    with harness.running(tmp_path / "least", **urls) as server:
        (tmp_path / "least" / "tokens").mkdir(exist_ok=True)
        (tmp_path / "least" / "tokens" / "read").write_text(token)
        assert server.post("/v1/logs", log_request("by members")) == (200, b"{}")
        assert b"by members" in server.get("/api/v1/logs?component=shop")
    lines = subprocess.run(
        [sys.executable, "-m", "otel_ingest", "doctor", "--json"],
        env=harness.clean_environment(**urls), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = {check["check"]: check for check in json.loads(lines.stdout)}
    assert found["writer"] == {"check": "writer", "verdict": "ok", "detail": "app_writer", "ok": True}
    assert found["reader"]["verdict"] == "ok"


def test_doctor_says_what_acknowledged_means_there(url: str, tmp_path: Path) -> None:
    """A server without fsync: a warning that names the loss, not an error; without roles: how to make them."""
    assert command(url, "migrate").returncode == 0
    result = command(url, "doctor", "--json", "--data-dir", str(tmp_path))
    found = {check["check"]: check for check in json.loads(result.stdout)}

    assert found["durability"]["verdict"] == "warning"
    assert "fsync is off: a crash of the machine loses acknowledged records" in found["durability"]["detail"]
    assert "our connections turn it on" in found["durability"]["detail"]
    assert found["store"]["verdict"] == "ok"
    assert found["clock"]["verdict"] == "ok"
    assert found["locks"]["verdict"] == "ok"


@pytest.mark.slow
def test_many_new_days_in_one_request(url: str, tmp_path: Path) -> None:
    """A thousand days without partitions, stock max_locks_per_transaction of 64: all stored, and readable at once."""
    request = json.loads(log_request("far back"))
    records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    now_ns = time.time_ns()
    records[:] = [
        records[0] | {"timeUnixNano": str(now_ns - day * 86_400 * 10**9), "body": {"stringValue": f"day {day}"}}
        for day in range(1_000)
    ]
    with harness.running(tmp_path / "data", OTEL_INGEST_DATABASE_URL=url) as server:
        deadline = time.monotonic() + 60
        while (answer := server.post("/v1/logs", json.dumps(request).encode()))[0] == 503:
            assert time.monotonic() < deadline, answer
        assert answer == (200, b"{}")
        # Acknowledged may mean its spool: making a thousand partitions takes a while.
        with psycopg.connect(url, autocommit=True) as connection:
            count = "SELECT count(*) FROM log_records WHERE body LIKE 'day %'"
            harness.wait_until(lambda: connection.execute(count.encode()).fetchone() == (1_000,), 90)
        assert b"day 999" in server.get("/api/v1/logs?component=shop&since=1100d&text=day+999")


def test_which_postgresql(url: str) -> None:
    """The binaries that were asked for are the ones that ran."""
    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10_000
    wanted = os.environ.get("TEST_POSTGRES_BIN", "")

    assert 15 <= version <= 18
    assert not wanted.startswith("/usr/lib/postgresql/") or f"/{version}/" in wanted
