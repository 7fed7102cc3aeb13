"""Which role each part of a running server connects as; what an older data directory and separate URLs do."""

import asyncio
import json
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage import embedded, migrate, roles, tokens
from storage.config import StorageConfig
from storage.engine import write_engine
from tests import harness
from tests.e2e.test_up import log_request


def users(server: harness.Server) -> set[str]:
    """Return the roles that the server's connections have."""
    with server.sql() as cursor:
        cursor.execute("SELECT usename FROM pg_stat_activity WHERE application_name LIKE 'otel-ingest%'")
        return {str(row[0]) for row in cursor.fetchall()}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Yield a data directory with a short path."""
    path = Path(tempfile.mkdtemp(prefix="oi-"))
    yield path / "d"
    shutil.rmtree(path, ignore_errors=True)


def test_the_server_writes_as_the_writer_and_reads_as_the_reader(data_dir: Path) -> None:
    """Nothing that runs is the owner; the passwords are private; a data directory without roles gets them."""
    with harness.running(data_dir) as server:
        assert server.post("/v1/logs", log_request("before"))[0] == 200
        assert b"before" in server.get("/api/v1/logs?component=shop")
        assert users(server) == {roles.WRITER, roles.READER}
        url = embedded.connection_url(data_dir)
        files = [data_dir / f"postgres.{role}.password" for role in (roles.WRITER, roles.READER)]
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
        assert not any(file.read_text() in server.stderr_path.read_text() for file in files)
        asyncio.run(migrate.downgrade(url, "0004"))
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
            for role in (roles.WRITER, roles.READER):
                owner.execute(f"DROP OWNED BY {role}".encode())
                owner.execute(f"ALTER ROLE {role} NOLOGIN".encode())
    for file in files:
        file.unlink()

    with harness.running(data_dir) as server:
        assert server.post("/v1/logs", log_request("after"))[0] == 200
        found = server.get("/api/v1/logs?component=shop")
        assert b"before" in found
        assert b"after" in found
        assert users(server) == {roles.WRITER, roles.READER}


def test_a_server_that_knows_no_owner(empty_database_url: str, tmp_path: Path) -> None:
    """With the writer's and the reader's URLs alone it stores and reads, migrates nothing and makes no tokens."""
    passwords = {roles.WRITER: "w" * 20, roles.READER: "r" * 20}

    async def prepare() -> str:
        await migrate.upgrade(empty_database_url)
        await roles.grant(empty_database_url, passwords)
        engine = write_engine(StorageConfig(empty_database_url))
        text, _ = await tokens.create(engine, "agent", "read")
        await engine.dispose()
        return text

    token = asyncio.run(prepare())
    urls = {role: roles.url_as(empty_database_url, role, password) for role, password in passwords.items()}
    environment = {
        "OTEL_INGEST_DATABASE_WRITE_URL": urls[roles.WRITER],
        "OTEL_INGEST_DATABASE_READ_URL": urls[roles.READER],
    }
    with harness.running(tmp_path / "data", **environment) as server:
        assert server.post("/v1/logs", log_request("without an owner")) == (200, b"{}")
        (tmp_path / "data" / "tokens").mkdir(exist_ok=True)
        (tmp_path / "data" / "tokens" / "read").write_text(token)
        assert "without an owner" in json.dumps(json.loads(server.get("/api/v1/logs?component=shop")))

    asyncio.run(migrate.downgrade(empty_database_url, "0004"))
    with pytest.raises(AssertionError, match="needs 0"):
        harness.start(tmp_path / "data", **environment)
