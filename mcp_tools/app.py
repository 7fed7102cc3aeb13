"""The query side's ASGI application: /mcp, /api/v1/…, health, metrics. Everything that shows data asks for a token."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_tools.api import JsonApi
from mcp_tools.gone import UntilGone
from mcp_tools.jaeger import Jaeger, OtlpTrace
from mcp_tools.loki.routes import Loki
from mcp_tools.oauth import AccessTokens, OAuth, metadata
from mcp_tools.page.routes import Page
from mcp_tools.server import QueryServer, Who
from mcp_tools.store_away import StoreAway
from storage.control import Control
from storage.reader import Reader
from storage.tokens import Token, allows

VerifyToken = Callable[[str], Awaitable[Token | None]]
Readiness = Callable[[], Awaitable[tuple[bool, str]]]
"""Returns whether exports can be accepted durably, and a sentence about it."""
Metrics = Callable[[], Awaitable[bytes]]
"""Returns the exposition of Prometheus."""

# What it takes to talk MCP at all: every role but ingest has it; the role itself decides tool by tool.
_TOOLS_SCOPE = "tools"


@dataclass(frozen=True, slots=True)
class Doors:
    """Under which names /mcp answers besides loopback and its own address, and to pages of which origins.

    A web page of a stranger can point a name of its own here (DNS rebinding); a name that is not listed gets 421.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def settings(self, base_url: str) -> TransportSecuritySettings:
        """Return the checks for a server at ``base_url``; a name without a port is allowed with every port."""
        scheme, _, address = base_url.partition("://")
        hosts = [address]
        for name in ("127.0.0.1", "localhost", "[::1]", *self.hosts):
            # A bare IPv6 address holds colons and no port.
            host = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
            hosts += [host] if host.rpartition(":")[2].isdigit() else [host, f"{host}:*"]
        origins = [f"{scheme}://{host}" for host in hosts]
        return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[*origins, *self.origins])


class FieldValues:
    """Middleware that takes white space off both ends of header values (RFC 9110, 5.5): the parser leaves the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] == "http":
            scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await self._app(scope, receive, send)


class Verifier:
    """Tokens of the store as MCP's TokenVerifier: the role is the scope; tokens are for this server alone."""

    def __init__(self, verify: VerifyToken, resource_url: str) -> None:
        self._verify = verify
        self._resource_url = resource_url

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the token's access, or None. Raises StoreError: a store that is away lets nobody in."""
        found = await self._verify(token)
        if found is None:
            return None
        scopes = [role for role in ("read", "control", "admin", "ingest") if allows(found.role, role)]
        scopes += [_TOOLS_SCOPE] if {"read", "control"} & set(scopes) else []
        return AccessToken(
            token=token,
            client_id=f"{found.id}:{found.name}",
            scopes=scopes,
            resource=self._resource_url,
        )


def _who() -> Who:
    """Return who calls in the MCP request at hand."""
    access = get_access_token()
    if access is None:
        return Who("", "")
    roles = [scope for scope in access.scopes if scope != _TOOLS_SCOPE]
    role = "admin" if "admin" in roles else "+".join(roles)
    return Who(role, access.client_id)


def build_query_app(
    reader: Reader,
    control: Control,
    verify: VerifyToken,
    base_url: str,
    readiness: Readiness,
    metrics: Metrics,
    otlp: OtlpTrace,
    doors: Doors = Doors(),
    otlp_url: str = "http://127.0.0.1:4318",
    oauth: OAuth | None = None,
) -> Starlette:
    """Return the application that answers at ``base_url`` (http://host:port, or https).

    ``otlp_url``: where services send to, for a page that has nothing to show yet. ``oauth``: whose access tokens are
    taken besides those of ``verify``.
    """
    resource_url = f"{base_url}/mcp" if oauth is None else oauth.resource
    if oauth is not None:
        verify = AccessTokens(oauth, verify).verify
        doors = replace(doors, hosts=(*doors.hosts, urlsplit(oauth.resource).netloc))
    auth = AuthSettings.model_validate(
        {
            "issuer_url": base_url if oauth is None else oauth.issuer,
            "resource_server_url": resource_url,
            "required_scopes": [_TOOLS_SCOPE],
            "validate_token_resource": True,
        }
    )
    server = QueryServer(
        reader,
        _who,
        version("otel-ingest"),
        control=control,
        token_verifier=Verifier(verify, resource_url),
        auth=auth,
        log_level="WARNING",
    )
    security = doors.settings(base_url)
    mcp_app = server.streamable_http_app(transport_security=security)
    mcp_app.add_middleware(StoreAway)
    page = Page(reader, control, verify, metrics, base_url, otlp_url, security.allowed_hosts)

    async def ready(_: Request) -> Response:
        is_ready, sentence = await readiness()
        return PlainTextResponse(sentence, 200 if is_ready else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with mcp_app.router.lifespan_context(mcp_app):
            yield

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(FieldValues), Middleware(UntilGone)],
        routes=[
            *page.routes(),
            *(_metadata_routes(oauth) if oauth is not None else []),
            Route("/healthz", _text(lambda: "alive")),
            Route("/readyz", ready),
            Route("/metrics", _exposition(metrics)),
            Mount("/api/v1", JsonApi(reader, control, verify)),
            *Jaeger(reader, otlp, verify).routes(),
            *Loki(reader, verify).routes(),
            Mount("/", mcp_app),
        ],
    )


def _metadata_routes(oauth: OAuth) -> list[Route]:
    """Return where clients look for the issuer: the library's own answer would name our inner scope as the issuer's."""

    async def endpoint(_: Request) -> Response:
        return JSONResponse(metadata(oauth), headers={"Access-Control-Allow-Origin": "*"})

    path = urlsplit(oauth.resource).path.rstrip("/")
    return [Route(f"/.well-known/oauth-protected-resource{path}", endpoint, methods=["GET"])]


def _text(content: Callable[[], str]) -> Any:
    async def endpoint(_: Request) -> Response:
        return PlainTextResponse(content())

    return endpoint


def _exposition(metrics: Metrics) -> Any:
    async def endpoint(_: Request) -> Response:
        return Response(await metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return endpoint
