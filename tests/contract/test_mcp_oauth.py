"""OAuth access tokens of a real small issuer: who comes in, as what, and every forgery that does not."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_tools.app import build_query_app
from mcp_tools.keys import ASK_AGAIN_S, FRESH_S, STALE_S, IssuerKeys
from mcp_tools.oauth import OAuth
from otel_ingest.cli.otlp_reading import otlp_trace
from storage import tokens
from storage.config import StorageConfig
from storage.control import Control
from storage.embedded import connection_url
from storage.engine import write_engine
from storage.errors import RetryableStoreError
from storage.reader import Reader
from tests import harness
from tests.contract.test_mcp_roles import message

RESOURCE = "https://logs.example.com/mcp"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(slots=True)
class Issuer:
    """An authorization server as far as a resource server sees it: its metadata and its keys, over HTTP."""

    url: str
    keys: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int = 200

    def answer(self, path: str) -> dict[str, Any] | None:
        """Return what a path says."""
        self.asked.append(path)
        if path == "/.well-known/openid-configuration/tenant":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/tenant/keys":
            return {"keys": list(self.keys.values())}
        return None

    def token(
        self, *, key: Any = RSA_KEY, alg: str = "RS256", kid: str = "one", lasts_s: int = 300, **changes: Any
    ) -> str:
        """Return an access token that is right but for the changes; None takes a claim away."""
        headers = {"kid": kid, "typ": changes.pop("typ", "at+jwt")}
        now = int(time.time())
        claims = {"iss": self.url, "aud": RESOURCE, "sub": "alice", "iat": now, "exp": now + lasts_s} | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"scope": "telemetry:read"} | claims, key, algorithm=alg, headers=headers)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Yield a running issuer with an RSA and an EC key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = made.answer(self.path)
            self.send_response(made.status if found is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Issuer(f"http://127.0.0.1:{server.server_port}/tenant")
    made.keys["one"] = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True) | {"kid": "one", "use": "sig"}
    made.keys["two"] = ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True) | {"kid": "two"}
    made.keys["pss"] = made.keys["one"] | {"kid": "pss", "alg": "PS256"}
    made.keys["enc"] = RSAAlgorithm.to_jwk(OTHER_KEY.public_key(), as_dict=True) | {"kid": "enc", "use": "enc"}
    made.keys["oct"] = {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")}
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def server(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """Yield a server that takes the issuer's tokens."""
    settings = {"OTEL_INGEST_OAUTH_ISSUER": issuer.url, "OTEL_INGEST_OAUTH_RESOURCE": RESOURCE}
    with harness.running(tmp_path_factory.mktemp("oauth") / "data", **settings) as running:
        yield running


def post(server: harness.Server, token: str, tool: str = "logger_overview", **arguments: Any) -> httpx2.Response:
    """Call a tool with a token."""
    body, headers = message("tools/call", "2026-07-28", name=tool, arguments=arguments)
    with httpx2.Client(timeout=20) as http:
        return http.post(
            f"http://{server.query}/mcp", json=body, headers=headers | {"Authorization": f"Bearer {token}"}
        )


def text_of(answer: httpx2.Response) -> str:
    """Return the text of a tool's answer."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"]["content"][0]["text"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"key": EC_KEY, "alg": "ES256", "kid": "two"},
        {"alg": "PS256", "kid": "pss"},
        {"aud": ["https://elsewhere.example", RESOURCE]},
        {"typ": "JWT"},
        {"scope": None, "scp": ["telemetry:read"]},
        {"scope": "openid telemetry:read telemetry:control"},
        {"lasts_s": -5},  # clocks differ a little
    ],
)
def test_who_comes_in(server: harness.Server, issuer: Issuer, changes: dict[str, Any]) -> None:
    """A token that is valid, for this server, with a scope that counts, of either kind of key."""
    assert "component" in text_of(post(server, issuer.token(**changes)))


def hs256_of_the_public_key(issuer: Issuer) -> str:
    """Return a token signed with HMAC whose secret is the public key, which everybody knows."""
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return forged(issuer, {"alg": "HS256", "kid": "one", "typ": "at+jwt"}, pem)


def forged(issuer: Issuer, header: dict[str, Any], secret: bytes | None) -> str:
    """Return a token with a header of one's own, signed by HMAC or not at all."""
    import hashlib
    import hmac

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    claims = jwt.decode(issuer.token(scope="telemetry:admin"), options={"verify_signature": False})
    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest() if secret else b""
    return f"{signed}.{part(signature)}"


def tampered(issuer: Issuer) -> str:
    """Return a token whose scope was raised after it was signed."""
    head, _, tail = issuer.token().split(".")
    _, raised, _ = issuer.token(scope="telemetry:admin", key=OTHER_KEY).split(".")
    return f"{head}.{raised}.{tail}"


FORGERIES: dict[str, Any] = {
    "expired": lambda i: i.token(exp=int(time.time()) - 60),
    "not yet valid": lambda i: i.token(nbf=int(time.time()) + 120),
    "for another resource": lambda i: i.token(aud="https://elsewhere.example/mcp"),
    "for the origin, not the resource": lambda i: i.token(aud="https://logs.example.com"),
    "for nobody": lambda i: i.token(aud=None),
    "of another issuer": lambda i: i.token(iss="https://evil.example"),
    "of an issuer that begins alike": lambda i: i.token(iss=f"{i.url}.evil.example"),
    "without an end": lambda i: i.token(exp=None),
    "without a subject": lambda i: i.token(sub=None),
    "of a key nobody published": lambda i: i.token(key=OTHER_KEY),
    "of a key with an unknown id": lambda i: i.token(kid="nine"),
    "of a key for another algorithm": lambda i: i.token(alg="PS256"),
    "of a key for encryption": lambda i: i.token(key=OTHER_KEY, kid="enc"),
    "an id token": lambda i: i.token(typ="id+jwt"),
    "unsigned": lambda i: forged(i, {"alg": "none", "typ": "at+jwt"}, None),
    "unsigned, spelled otherwise": lambda i: forged(i, {"alg": "nOnE", "kid": "one"}, None),
    "HMAC with the public key": hs256_of_the_public_key,
    "HMAC with a published secret": lambda i: forged(i, {"alg": "HS256", "kid": "oct"}, b"s" * 32),
    "a key of its own in the header": lambda i: forged(i, {"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}}, b"x"),
    "critical extensions nobody knows": lambda i: forged(i, {"alg": "RS256", "kid": "one", "crit": ["x"]}, None),
    "tampered": tampered,
    "too long": lambda i: i.token(pad="x" * 20_000),
    "no token at all": lambda i: "a.b.c",  # noqa: ARG005
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_does_not_come_in(server: harness.Server, issuer: Issuer, forgery: str) -> None:
    """401 with the way to a token, on /mcp and on the JSON API; the token itself stands nowhere in the log."""
    token = FORGERIES[forgery](issuer)
    answer = post(server, token)
    with httpx2.Client(timeout=20) as http:
        api = http.get(f"http://{server.query}/api/v1/overview", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == api.status_code == 401
    metadata = "https://logs.example.com/.well-known/oauth-protected-resource/mcp"
    assert f'resource_metadata="{metadata}"' in answer.headers["www-authenticate"]
    assert token not in server.stderr_path.read_text()


def test_scopes_that_count_for_nothing(server: harness.Server, issuer: Issuer) -> None:
    """A valid token without a scope of ours: 403 insufficient_scope, not 401."""
    answer = post(server, issuer.token(scope="openid profile ingest admin"))

    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_scopes_are_roles(server: harness.Server, issuer: Issuer) -> None:
    """Each scope alone, two together, and admin; who it was stands in the audit log."""
    level = {"component": "nobody", "level": "debug", "ttl": "1s", "reason": "a test"}
    by = {
        scope: issuer.token(scope=scope, sub=f"bob {scope}")
        for scope in ("telemetry:read", "telemetry:control", "telemetry:read telemetry:control", "telemetry:admin")
    }

    def called(scope: str, tool: str, **arguments: Any) -> str:
        return text_of(post(server, by[scope], tool, **arguments)).partition(":")[0]

    assert called("telemetry:read", "logger_set_level", **level) == "FORBIDDEN"
    assert called("telemetry:control", "logger_query") == "FORBIDDEN"
    assert called("telemetry:control", "logger_set_level", **level) == "UNKNOWN_COMPONENT"
    assert called("telemetry:read telemetry:control", "logger_query") != "FORBIDDEN"
    assert called("telemetry:read telemetry:control", "logger_clear", everything=True, reason="no") == "FORBIDDEN"
    assert called("telemetry:admin", "logger_clear", everything=True, reason="yes").startswith("nothing to delete")
    with server.sql() as sql:
        entry = sql.execute("SELECT caller, role FROM audit_log ORDER BY id DESC LIMIT 1").fetchone()
    assert entry == (f"0:bob telemetry:admin of {issuer.url}", "admin")


def test_the_metadata_names_the_issuer(server: harness.Server, issuer: Issuer) -> None:
    """RFC 9728: the resource as clients know it, the issuer, and the scopes to ask it for."""
    with httpx2.Client() as http:
        found = http.get(f"http://{server.query}/.well-known/oauth-protected-resource/mcp").json()

    assert found["resource"] == RESOURCE
    assert found["authorization_servers"] == [issuer.url]
    assert found["scopes_supported"] == ["telemetry:read", "telemetry:control", "telemetry:admin"]


def test_tokens_of_the_store_count_as_ever(server: harness.Server) -> None:
    """An issuer is one more way in."""
    assert post(server, server.token()).status_code == 200


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_of_either_revision(server: harness.Server, issuer: Issuer, mode: Any) -> None:
    """The library's own client lists and calls with an access token, under the public name."""
    headers = {"Authorization": f"Bearer {issuer.token()}", "Host": "logs.example.com"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20) as http,
        Client(streamable_http_client(f"http://{server.query}/mcp", http_client=http), mode=mode) as client,
    ):
        assert "logger_query" in {tool.name for tool in (await client.list_tools()).tools}


async def test_keys_are_asked_for_with_bounds(issuer: Issuer) -> None:
    """Once for many tokens; again for an unknown key, but not at each; old ones serve while the issuer is away."""
    now = 1_000.0
    keys = IssuerKeys(issuer.url, None, lambda: now)
    issuer.asked.clear()

    def fetched() -> int:
        return issuer.asked.count("/tenant/keys")

    for _ in range(50):
        assert await keys.key("one") is not None
        assert await keys.key("unknown") is None
    assert fetched() == 1
    now += ASK_AGAIN_S
    assert await keys.key("unknown") is None
    assert fetched() == 2
    issuer.keys["three"] = issuer.keys["one"] | {"kid": "three"}
    now += ASK_AGAIN_S
    assert await keys.key("three") is not None  # rotated: found at once
    del issuer.keys["three"]
    now += FRESH_S
    assert await keys.key("three") is None  # withdrawn: gone within ten minutes
    issuer.status = 500
    try:
        now += FRESH_S
        assert await keys.key("one") is not None
        now += STALE_S
        with pytest.raises(RetryableStoreError, match="cannot be fetched"):
            await keys.key("one")
    finally:
        issuer.status = 200
    now += ASK_AGAIN_S
    assert await keys.key("one") is not None


async def test_metadata_of_another_issuer_is_not_taken(issuer: Issuer) -> None:
    """Whoever answers at the issuer's place must say that it is the issuer."""
    with pytest.raises(RetryableStoreError, match="cannot be fetched"):
        await IssuerKeys(issuer.url.replace("127.0.0.1", "localhost"), None).key("one")


async def test_while_the_issuer_is_away_it_is_no_401(server: harness.Server, issuer: Issuer) -> None:
    """A server that never saw the keys says 503 and when to try again; tokens of the store go on."""
    engine = write_engine(StorageConfig(connection_url(server.data_dir)))

    async def ready() -> tuple[bool, str]:
        return True, "ready"

    async def metrics() -> bytes:
        return b""

    away = OAuth("http://127.0.0.1:9/tenant", RESOURCE, {"telemetry:read": "read"})
    base, otlp = "http://127.0.0.1:4319", partial(otlp_trace, engine)
    verify = partial(tokens.verify, engine)
    app = build_query_app(Reader(engine), Control(engine), verify, base, ready, metrics, otlp, oauth=away)
    body, headers = message("tools/call", "2026-07-28", name="logger_overview", arguments={})
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=base) as http,
    ):
        answer, by_store = [
            await http.post("/mcp", json=body, headers=headers | {"Authorization": f"Bearer {token}"})
            for token in (issuer.token(iss=away.issuer), server.token())
        ]
    await engine.dispose()

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "the keys of http://127.0.0.1:9/tenant cannot be fetched" in answer.text
    assert by_store.status_code == 200


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_INGEST_OAUTH_ISSUER", "http://issuer.example", "is not https://host"),
        ("OTEL_INGEST_OAUTH_SCOPES", "telemetry:read", "is not scope=role"),
        ("OTEL_INGEST_OAUTH_SCOPES", "x=ingest", "is not scope=role"),
        ("OTEL_INGEST_OAUTH_RESOURCE", "logs.example.com", "oauth_resource"),
    ],
)
def test_wrong_settings_are_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    """A sentence at the start, before anything listens."""
    from otel_ingest.config import Settings

    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=says):
        Settings()
