"""What the tests of MCP share: one running server with every tool, and a token of every kind."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from storage import tokens
from storage.config import StorageConfig
from storage.embedded import connection_url
from storage.engine import write_engine
from tests import harness


@pytest.fixture(scope="session")
def query_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """Yield a running server that offers every tool; test_mcp alone sends it telemetry."""
    with harness.running(tmp_path_factory.mktemp("mcp") / "data", OTEL_INGEST_SQL_TOOL="true") as running:
        yield running


@pytest.fixture(scope="session")
def tokens_of_tests(query_server: harness.Server) -> dict[str, str]:
    """Return a token of every kind, by its kind; of none: an empty text."""

    async def make() -> dict[str, str]:
        engine = write_engine(StorageConfig(connection_url(query_server.data_dir)))
        made = {role: (await tokens.create(engine, f"{role} of tests", role))[0] for role in tokens.ROLES}
        made["revoked"] = (await tokens.create(engine, "gone", "admin"))[0]
        await tokens.revoke(engine, "gone")
        past = datetime.now(UTC) - timedelta(seconds=1)
        made["expired"] = (await tokens.create(engine, "over", "admin", past))[0]
        await engine.dispose()
        return made

    return asyncio.run(make()) | {"bad": "oti_admin_" + "x" * 43, "malformed": "nonsense", "none": ""}
