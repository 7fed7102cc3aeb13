"""The page's routes: login and logout, the views with their twins, the files. Nothing is shown without a read token."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from mcp_tools.errors import UserInputError
from mcp_tools.page import (
    compare,
    components,
    counts,
    exports,
    files,
    logs,
    operations,
    patterns,
    records,
    retention,
    shell,
    tail,
    traces,
)
from mcp_tools.page.guard import Guard, is_of_ours, is_proven
from mcp_tools.page.session import Sessions, VerifyToken, Visitor
from mcp_tools.page.state import Here, href, local
from mcp_tools.page.visit import Change, Metrics, Shown, Stream, View, Visit
from mcp_tools.store_away import RETRY_S, StoreAway
from storage.control import Control
from storage.errors import RetryableStoreError, StoreError
from storage.reader import Reader

VIEWS: dict[str, View] = {
    "/logs": logs.view,
    "/logs/counts": counts.view,
    "/record/{id:int}": records.view,
    "/traces": traces.search,
    "/trace/{trace_id}": traces.view,
    "/trace/{trace_id}/span/{span_id}": traces.span_view,
    "/components": components.view,
    "/patterns": patterns.view,
    "/operations": operations.view,
    "/compare": compare.view,
}
STREAMS: dict[str, Stream] = {
    "/logs.csv": exports.csv,
    "/logs.jsonl": exports.json_lines,
    "/logs/tail": tail.stream,
    "/trace/{trace_id}/shape.json": traces.shape,
}
CHANGES: dict[str, Change] = {
    "/components/level": components.set_level,
    "/operations/retention": retention.set_rule,
}
_STATUS = {"FORBIDDEN": 403, "UNKNOWN_TRACE": 404, "UNKNOWN_ID": 404, "TIMEOUT": 504, "STORE_UNAVAILABLE": 503}
_FORM_BYTES_MAX = 64 * 1024
Endpoint = Callable[[Request], Awaitable[Response]]


class Page:
    """The page of one server."""

    def __init__(
        self,
        reader: Reader,
        control: Control,
        verify: VerifyToken,
        metrics: Metrics,
        base_url: str,
        otlp_url: str,
        hosts: list[str],
    ) -> None:
        """``base_url``: where it answers, under ``hosts``; ``otlp_url``: where services send to."""
        scheme, _, address = base_url.partition("://")
        self._hosts = hosts
        self._reader = reader
        self._control = control
        self._metrics = metrics
        self._otlp_url = otlp_url
        self._sessions = Sessions(verify, f"otel-ingest-{address.rpartition(':')[2]}", secure=scheme == "https")

    def routes(self) -> list[BaseRoute]:
        """Return all routes, each with what stands around its answers."""
        around = [Middleware(Guard, self._hosts), Middleware(StoreAway)]
        endpoints: dict[str, Endpoint] = {"/": self._home, "/static/{version}/{name}": files.endpoint}
        endpoints |= {path: self._stream(stream) for path, stream in STREAMS.items()}
        for path, view in VIEWS.items():
            endpoints |= {f"{path}.json": self._json(view), path: self._html(view)}
        routes: list[BaseRoute] = [Route(path, endpoint, middleware=around) for path, endpoint in endpoints.items()]
        for path, change in CHANGES.items():
            routes.append(Route(path, self._change(change), methods=["POST"], middleware=around))
        routes.append(Route("/login", self._login, methods=["GET", "POST"], middleware=around))
        routes.append(Route("/logout", self._logout, methods=["POST"], middleware=around))
        return routes

    async def _home(self, request: Request) -> Response:
        if "token" in request.query_params:
            return await self._exchange(request)
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(files.INDEX)
        return RedirectResponse("/logs", 303)

    async def _exchange(self, request: Request) -> Response:
        """Take the token of a login link out of the URL at once: what follows has a cookie."""
        params = {name: v for name, v in request.query_params.items() if name != "token"}
        target = href("/logs" if request.url.path in {"/", "/login"} else request.url.path, params)
        return await self._entered(request, request.query_params["token"], target)

    async def _entered(self, request: Request, token: str, target: str) -> Response:
        key = await self._sessions.enter(request, token)
        if key is None:
            return self._login_page(target, "This token is not known here, has expired or was revoked.", 401)
        response = RedirectResponse(target, 303, {"Referrer-Policy": "no-referrer"})
        self._sessions.set_cookie(response, key)
        return response

    async def _login(self, request: Request) -> Response:
        if request.method == "GET":
            if "token" in request.query_params:
                return await self._exchange(request)
            return self._login_page(local(request.query_params.get("next", "")))
        if not is_of_ours(request):
            return PlainTextResponse("this form is not of this server\n", 403)
        form = await _form(request)
        if form is None:
            return PlainTextResponse(f"the form is larger than {_FORM_BYTES_MAX} bytes\n", 413)
        return await self._entered(request, form.get("token", ""), local(form.get("next", "")))

    def _login_page(self, target: str, problem: str = "", status: int = 200) -> Response:
        html = shell.page(
            "login.html", title="Log in", next=target, problem=problem, layout="layout.html", visitor=None
        )
        return Response(html, status, media_type="text/html")

    async def _logout(self, request: Request) -> Response:
        visitor, form = await self._sessions.visitor(request), await _form(request)
        if (
            visitor is not None
            and form is not None
            and is_of_ours(request)
            and is_proven(visitor, form.get("csrf", ""))
        ):
            self._sessions.leave(request)
            response = RedirectResponse("/login", 303)
            self._sessions.drop_cookie(response)
            return response
        return PlainTextResponse("this form is not of this server, or its session is over\n", 403)

    async def _visitor(self, request: Request) -> Visitor | Response:
        """Return who asks, or the answer to somebody who may not look."""
        if "token" in request.query_params and request.method == "GET":
            return await self._exchange(request)
        visitor = await self._sessions.visitor(request)
        if visitor is not None and visitor.may("read"):
            return visitor
        if "text/html" in request.headers.get("accept", "") and not request.url.path.endswith(".json"):
            target = href(request.url.path, dict(request.query_params))
            problem = "Your token may not read; add one with the role read." if visitor is not None else ""
            return self._login_page(target, problem, 401)
        message = "log in, or send Authorization: Bearer TOKEN with a read token"
        error = {"error": {"code": "UNAUTHENTICATED", "message": message}}
        return JSONResponse(error, 401, {"WWW-Authenticate": 'Bearer realm="otel-ingest"'})

    def _visit(self, request: Request, visitor: Visitor, *, enough: bool) -> Visit:
        path = request.url.path.removesuffix(".json")
        params = {name: value.replace("\x00", "") for name, value in request.query_params.items()}
        here, given = Here(path, params), {k: str(v) for k, v in request.path_params.items()}
        return Visit(self._reader, self._control, self._metrics, visitor, here, time.time_ns(), given, enough)

    def _html(self, view: View) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            visitor = await self._visitor(request)
            if isinstance(visitor, Response):
                return visitor
            visit = self._visit(request, visitor, enough=True)
            layout = "part.html" if request.headers.get("x-part") == "main" else "layout.html"
            return self._rendered(visit, await self._shown(view(visit)), layout)

        return endpoint

    def _rendered(self, visit: Visit, shown: Shown, layout: str = "layout.html") -> Response:
        context = {"here": visit.here, "title": shown.title, "now_ns": visit.now_ns, "visitor": visit.visitor}
        context |= {"error": shown.error, "otlp_url": self._otlp_url, "layout": layout} | shown.data | shown.more
        return Response(shell.page(shown.template, **context), _status(shown), media_type="text/html")

    def _change(self, change: Change) -> Endpoint:
        """Return the endpoint of a form that changes something: from this origin, with the secret of its session."""

        async def endpoint(request: Request) -> Response:
            visitor = await self._visitor(request)
            if isinstance(visitor, Response):
                return visitor
            form = await _form(request)
            if form is None or not is_of_ours(request) or not is_proven(visitor, form.get("csrf", "")):
                return PlainTextResponse("this form is not of this server, or its session is over\n", 403)
            visit = self._visit(request, visitor, enough=True)
            return self._rendered(visit, await self._shown(change(visit, form)))

        return endpoint

    def _json(self, view: View) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            visitor = await self._visitor(request)
            if isinstance(visitor, Response):
                return visitor
            shown = await self._shown(view(self._visit(request, visitor, enough=False)))
            data: dict[str, Any] = shown.data
            if shown.error is not None:
                data = {"error": {"code": shown.error.code, "message": str(shown.error).partition(": ")[2]}}
            return Response(shell.twin(data), _status(shown), media_type="application/json")

        return endpoint

    def _stream(self, stream: Stream) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            visitor = await self._visitor(request)
            if isinstance(visitor, Response):
                return visitor
            try:
                return await stream(self._visit(request, visitor, enough=False), request, self._sessions)
            except UserInputError as error:
                return PlainTextResponse(f"{error}\n", 400)

        return endpoint

    async def _shown(self, finding: Awaitable[Shown]) -> Shown:
        """Return what a view shows; what keeps it from it is a page as well."""
        try:
            return await finding
        except UserInputError as error:
            return Shown("problem.html", "Not so", {}, error=error)
        except RetryableStoreError as error:
            away = UserInputError("STORE_UNAVAILABLE", f"{error}; try again in {RETRY_S} s")
            return Shown("problem.html", "The store is away", {}, error=away)
        except StoreError as error:
            return Shown("problem.html", "The store refused", {}, error=UserInputError("STORE_UNAVAILABLE", str(error)))


def _status(shown: Shown) -> int:
    return 200 if shown.error is None else _STATUS.get(shown.error.code, 400)


async def _form(request: Request) -> dict[str, str] | None:
    """Return the fields of a form; None: it is too large, or has no length."""
    declared = request.headers.get("content-length", "")
    if not declared.isdigit() or int(declared) > _FORM_BYTES_MAX:
        return None
    async with request.form(max_files=0, max_fields=20) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
