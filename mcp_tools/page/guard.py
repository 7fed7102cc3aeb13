"""What stands around every answer of the page: names it answers to, what a browser may do, where a form is from.

The policy allows scripts and styles of this server alone, nothing inline, and HTML from text by one named policy only
(static/page.js): what a record says could not run even if a template forgot to escape it.
"""

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_tools.page.session import Visitor

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types otel-ingest"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Nothing to other origins; and not no-referrer, with which browsers send forms with Origin: null.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware: 421 for a name that is not ours (DNS rebinding), and the headers of every answer."""

    def __init__(self, app: ASGIApp, hosts: list[str]) -> None:
        """``hosts``: Host headers as they come, or name:* for every port."""
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        if host not in self._hosts and f"{host.rpartition(':')[0]}:*" not in self._hosts:
            sentence = "this name is not one of this server; see OTEL_INGEST_QUERY_ALLOWED_HOSTS\n"
            await PlainTextResponse(sentence, 421, HEADERS)(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


def is_of_ours(request: Request) -> bool:
    """Whether a POST came from a page of this server (no browser forges these headers), or from no page at all."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


def is_proven(visitor: Visitor, given: str) -> bool:
    """Whether a form holds the secret of its session; a bearer token is proof by itself, no page can send one."""
    return visitor.session is None or hmac.compare_digest(visitor.session.csrf, given)
