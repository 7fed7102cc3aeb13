"""The query side while PostgreSQL is away: 503 and when to try again, on every door that asks for a token."""

from typing import Any

from starlette.testclient import TestClient

from mcp_tools.app import build_query_app
from storage.errors import RetryableStoreError
from storage.tokens import Token


async def _away(_: str) -> Token | None:
    raise RetryableStoreError("PostgreSQL cannot be used now: the connection was refused")


async def _ready() -> tuple[bool, str]:
    return True, "ready"


def test_a_token_that_cannot_be_checked_is_not_called_wrong() -> None:
    """A 401 would make an agent forget its token; /mcp and the JSON API say 503 and Retry-After."""
    nothing: Any = None
    app = build_query_app(nothing, nothing, _away, "http://127.0.0.1:4319", _ready, lambda: b"", nothing)
    headers = {"Authorization": "Bearer oti_read_x", "Accept": "application/json, text/event-stream"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    with TestClient(app, base_url="http://127.0.0.1:4319") as client:
        mcp = client.post("/mcp", json=call, headers=headers)
        api = client.get("/api/v1/overview", headers=headers)
        nobody = client.post("/mcp", json=call, headers={"Accept": headers["Accept"]})

    assert (mcp.status_code, mcp.headers["Retry-After"]) == (503, "1")
    assert "connection was refused" in mcp.text
    assert (api.status_code, api.headers["Retry-After"]) == (503, "1")
    assert nobody.status_code == 401
