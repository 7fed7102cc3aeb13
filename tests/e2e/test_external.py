"""With OTEL_INGEST_DATABASE_URL the server uses that PostgreSQL and never starts one of its own."""

from pathlib import Path

from tests import harness
from tests.e2e.test_up import log_request


def test_own_postgresql_is_used(empty_database_url: str, tmp_path: Path) -> None:
    """From an empty database: migrated, stored into, read back; no cluster below the data directory."""
    with harness.running(tmp_path / "data", OTEL_INGEST_DATABASE_URL=empty_database_url) as server:
        assert server.post("/v1/logs", log_request("into a database of one's own")) == (200, b"{}")
        assert b"into a database of one's own" in server.get("/api/v1/logs?component=shop")
        server.assert_balanced()

    assert server.process.returncode == 0
    assert not (tmp_path / "data" / "postgres").exists()
    assert empty_database_url not in server.stderr_path.read_text()
