"""The auth matrix, made from the table of tools: every kind of token, every tool, both protocol revisions.

A new tool is covered by standing in the table. The oracle is ``Tool.role`` and ``Tool.also`` alone.
"""

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_tools.app import Verifier, build_query_app
from mcp_tools.tools import TOOLS
from otel_ingest.cli.otlp_reading import otlp_trace
from storage import tokens
from storage.config import StorageConfig
from storage.control import Control
from storage.embedded import connection_url
from storage.engine import write_engine
from storage.reader import Reader
from tests import harness

Mode = Literal["auto", "legacy"]
MODES: list[Mode] = ["auto", "legacy"]
REFUSED = {"none": 401, "bad": 401, "malformed": 401, "expired": 401, "revoked": 401, "ingest": 403}
ROLES = ("read", "control", "admin")
ACCEPT = {"Accept": "application/json, text/event-stream"}
NONSENSE = {"no_such_argument": 1}


@pytest.fixture(scope="module")
def server(query_server: harness.Server) -> harness.Server:
    """Return a running server that offers every tool."""
    return query_server


@pytest.fixture(scope="module")
def keyring(tokens_of_tests: dict[str, str]) -> dict[str, str]:
    """Return the Authorization header's value for every kind of token."""
    return {kind: f"Bearer {text}" if text else "" for kind, text in tokens_of_tests.items()}


def message(method: str, revision: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a request and its headers as a client of a revision sends them."""
    headers = ACCEPT | {"MCP-Protocol-Version": revision}
    if revision == "2026-07-28":
        prefix = "io.modelcontextprotocol/"
        meta = {"protocolVersion": revision, "clientCapabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
        params["_meta"] = {prefix + name: value for name, value in meta.items()}
        headers |= {"Mcp-Method": method} | ({"Mcp-Name": params["name"]} if "name" in params else {})
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, headers


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("kind", REFUSED)
def test_who_may_not_come_in(server: harness.Server, keyring: dict[str, str], kind: str, revision: str) -> None:
    """Every tool, and the list: 401 that names the metadata, or 403 insufficient_scope; nothing of the answer."""
    requests = [message("tools/list", revision), message("resources/list", revision)]
    requests += [message("tools/call", revision, name=name, arguments=NONSENSE) for name in TOOLS]
    with httpx2.Client(base_url=f"http://{server.query}", headers={"Authorization": keyring[kind]}, timeout=20) as http:
        answers = [http.post("/mcp", json=body, headers=headers) for body, headers in requests]

    assert {answer.status_code for answer in answers} == {REFUSED[kind]}
    for answer in answers:
        challenge = answer.headers["www-authenticate"]
        metadata = f"http://{server.query}/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="{metadata}"' in challenge
        assert ('error="insufficient_scope"' if kind == "ingest" else 'error="invalid_token"') in challenge
        assert "logger_" not in answer.text


def test_the_metadata_says_whose_resource_it_is(server: harness.Server) -> None:
    """RFC 9728: the resource is this server's /mcp; no token is needed to learn it."""
    with httpx2.Client(base_url=f"http://{server.query}") as http:
        metadata = http.get("/.well-known/oauth-protected-resource/mcp").json()

    assert metadata["resource"] == f"http://{server.query}/mcp"
    assert metadata["bearer_methods_supported"] == ["header"]


@asynccontextmanager
async def connected(server: harness.Server, authorization: str, mode: Mode) -> Any:
    """Yield a client of a revision with a token."""
    headers = {"Authorization": authorization}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20) as http,
        Client(streamable_http_client(f"http://{server.query}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("role", ROLES)
async def test_each_role_has_its_tools(server: harness.Server, keyring: dict[str, str], role: str, mode: Mode) -> None:
    """Listed are the tools of the role; the others are refused when called, before a look at their arguments."""
    mine = {name for name, tool in TOOLS.items() if role in {tool.role, *tool.also, "admin"} or role == "admin"}
    async with connected(server, keyring[role], mode) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        answers = {name: await client.call_tool(name, NONSENSE) for name in TOOLS}

    assert listed == mine
    for name, answer in answers.items():
        # Who may call it is told what is wrong with the argument; who may not, nothing about it.
        expected = "UNKNOWN_ARGUMENT" if name in mine else "FORBIDDEN"
        assert answer.is_error
        assert len(answer.content) == 1
        assert answer.content[0].text.startswith(f"{expected}: {name}")
        assert answer.structured_content is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("role", ROLES)
async def test_resources_are_for_those_who_may_read(
    server: harness.Server, keyring: dict[str, str], role: str, mode: Mode
) -> None:
    """A control token finds no resources and no completions, and what it asks for by its URI is refused."""
    async with connected(server, keyring[role], mode) as client:
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        text = ""
        try:
            await client.read_resource("log://999999999")
        except Exception as error:  # noqa: BLE001 - MCPError of either revision; its text is what counts
            text = str(error)

    assert bool(resources) is bool(templates) is (role != "control")
    assert ("FORBIDDEN" if role == "control" else "UNKNOWN_ID") in text


async def test_refused_attempts_to_change_something_are_written_down(
    server: harness.Server, keyring: dict[str, str]
) -> None:
    """Each call of a control or admin tool by a reader stands in the audit log, with who, what and why."""
    changing = {name for name, tool in TOOLS.items() if tool.role != "read"}
    async with connected(server, keyring["read"], "auto") as client:
        for name in changing:
            await client.call_tool(name, {"attempt": "of tests"})
    engine = write_engine(StorageConfig(connection_url(server.data_dir)))
    entries = [e for e in await Control(engine).audit_entries(1000) if e.arguments == {"attempt": "of tests"}]
    await engine.dispose()

    assert {entry.action for entry in entries} == changing
    assert all(entry.outcome.startswith("refused: FORBIDDEN") for entry in entries)
    assert all(entry.caller.endswith(":read of tests") for entry in entries)


@pytest.mark.parametrize("resource", ["http://elsewhere.example/mcp", ""])
async def test_a_token_for_another_resource_is_refused(
    server: harness.Server, keyring: dict[str, str], monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    """A token that its verifier says is for another server, or for none: 401, though its role would do."""
    verify_token = Verifier.verify_token

    async def of_another(self: Verifier, token: str) -> Any:
        access = await verify_token(self, token)
        return access.model_copy(update={"resource": resource or None}) if access else None

    monkeypatch.setattr(Verifier, "verify_token", of_another)
    engine = write_engine(StorageConfig(connection_url(server.data_dir)))

    async def ready() -> tuple[bool, str]:
        return True, "ready"

    async def metrics() -> bytes:
        return b""

    base = "http://127.0.0.1:4319"
    app = build_query_app(
        Reader(engine),
        Control(engine),
        lambda text: tokens.verify(engine, text),
        base,
        ready,
        metrics,
        partial(otlp_trace, engine),
    )
    transport = httpx2.ASGITransport(app)
    headers = {"Authorization": keyring["admin"]}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=base, headers=headers) as http,
    ):
        statuses = set()
        for revision in ("2025-11-25", "2026-07-28"):
            for name in TOOLS:
                body, more = message("tools/call", revision, name=name, arguments={})
                statuses.add((await http.post("/mcp", json=body, headers=more)).status_code)
    await engine.dispose()

    assert statuses == {401}


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Host", "evil.example", 421),
        ("Host", "127.0.0.1.evil.example:80", 421),
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
    ],
)
def test_names_of_strangers_are_refused(
    server: harness.Server, keyring: dict[str, str], header: str, value: str, status: int
) -> None:
    """DNS rebinding, with a valid token: neither revision answers to a name or a page of somebody else's."""
    for revision in ("2025-11-25", "2026-07-28"):
        body, headers = message("tools/list", revision)
        with httpx2.Client(timeout=20) as http:
            answer = http.post(
                f"http://{server.query}/mcp",
                json=body,
                headers=headers | {"Authorization": keyring["admin"], header: value},
            )
        assert answer.status_code == status


def test_a_token_in_the_url_or_a_cookie_counts_for_nothing(server: harness.Server, keyring: dict[str, str]) -> None:
    """Only the header: what stands in a URL ends up in logs, and a browser sends a cookie unasked."""
    text = keyring["admin"].removeprefix("Bearer ")
    body, headers = message("tools/list", "2026-07-28")
    with httpx2.Client(base_url=f"http://{server.query}", timeout=20) as http:
        by_url = http.post(f"/mcp?access_token={text}", content=json.dumps(body), headers=headers)
        by_cookie = http.post("/mcp", content=json.dumps(body), headers=headers | {"Cookie": f"token={text}"})

    assert by_url.status_code == by_cookie.status_code == 401
