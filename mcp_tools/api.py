"""The JSON API: the tools as GET requests, arguments as query parameters, ``attributes.KEY=value``."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from mcp_tools.store_away import RETRY_S
from storage.control import Control
from storage.errors import StoreError
from storage.reader import Reader
from storage.tokens import Token

_log = structlog.get_logger(__name__)

_STATUS = {
    "FORBIDDEN": 403,
    "CONFIRM_MISMATCH": 409,
    "UNKNOWN_TRACE": 404,
    "UNKNOWN_SPAN": 404,
    "NOT_YET": 404,
    "EXPIRED": 410,
    "UNKNOWN_ID": 404,
    "UNKNOWN_COMPONENT": 404,
    "NOT_OFFERED": 404,
    "TIMEOUT": 504,
    "STORE_UNAVAILABLE": 503,
}
_PATHS: dict[str, str] = {
    "/overview": "logger_overview",
    "/logs": "logger_query",
    "/traces": "logger_search_traces",
    "/traces/{trace_id}": "logger_trace",
    "/stats": "logger_stats",
    "/diff": "logger_diff",
    "/tail": "logger_tail",
    "/patterns": "logger_patterns",
    "/fields": "logger_fields",
    "/levels": "logger_get_levels",
    "/retention": "logger_retention",
}


# What changes something is POST; its arguments are the JSON object of the body.
_POST_PATHS = {
    "/levels": "logger_set_level",
    "/clear": "logger_clear",
    "/retention": "logger_set_retention",
    "/sql": "logger_sql",
}
_LISTS = {"group_by", "span_ids", "fields"}
_OBJECTS = {"attributes", "around", "compare_to", "a", "b"}
_BODY_BYTES_MAX = 64 * 1024


class JsonApi(Router):
    """Routes of /api/v1."""

    def __init__(self, reader: Reader, control: Control, verify: Callable[[str], Awaitable[Token | None]]) -> None:
        self._reader = reader
        self._control = control
        self._verify = verify
        routes = [Route(path, self._endpoint(tool), methods=["GET"]) for path, tool in _PATHS.items()]
        routes += [Route(path, self._endpoint(tool), methods=["POST"]) for path, tool in _POST_PATHS.items()]
        super().__init__(routes)

    def _endpoint(self, tool: str) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                token = await self._token(request)
            except StoreError as error:
                return _error(503, "STORE_UNAVAILABLE", str(error))
            if token is None:
                return _error(401, "UNAUTHENTICATED", "send Authorization: Bearer TOKEN with a read token")
            try:
                arguments = await _body(request) if request.method == "POST" else _arguments(request, tool)
                answer = await call(
                    self._reader,
                    token.role,
                    tool,
                    arguments,
                    caller=f"{token.id}:{token.name}",
                    control=self._control,
                )
            except UserInputError as error:
                return _error(_STATUS.get(error.code, 400), error.code, str(error).partition(": ")[2])
            except Exception:  # noqa: BLE001 - the top of a request: logged, and answered without its text
                _log.exception("unexpected error in the JSON API", tool=tool)
                return _error(500, "INTERNAL", "an unexpected error in the server; it is in the server's log")
            return _json(answer.data)

        return endpoint

    async def _token(self, request: Request) -> Token | None:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        return await self._verify(text.strip()) if scheme.lower() == "bearer" and text.strip() else None


async def _body(request: Request) -> dict[str, Any]:
    """Return the arguments of a POST. Raises UserInputError."""
    declared = request.headers.get("content-length", "")
    if not declared.isdigit() or int(declared) > _BODY_BYTES_MAX:
        raise UserInputError("INVALID_BODY", f"send Content-Length, {_BODY_BYTES_MAX} bytes at most")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UserInputError("INVALID_BODY", "send Content-Type: application/json")
    try:
        arguments = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise UserInputError("INVALID_BODY", f"the body is not valid JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise UserInputError("INVALID_BODY", "the body is not a JSON object of the tool's arguments")
    return arguments


def _arguments(request: Request, tool: str) -> dict[str, Any]:
    """Return the tool's arguments from path and query; lists are repeated or separated by commas."""
    arguments: dict[str, Any] = dict(request.path_params)
    for name, value in request.query_params.multi_items():
        argument, dot, key = name.partition(".")
        if dot and argument in _OBJECTS:
            value_there = _scalar(value) if argument == "attributes" else value
            arguments.setdefault(argument, {})[key] = value_there
        elif name in _LISTS:
            arguments.setdefault(name, []).extend(v for v in value.split(",") if v)
        else:
            arguments[name] = value
    if tool == "logger_query":
        arguments.setdefault("max_tokens", 20_000)  # programs page by limit
    return arguments


def _scalar(value: str) -> str | int | float | bool:
    """Return a query parameter as the attribute value it names: true, 7 and 1.5 are not text, "7" in quotes is."""
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    return parsed if isinstance(parsed, str | int | float | bool) else value


def _error(status: int, code: str, message: str) -> Response:
    headers = {}
    if status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = 'Bearer realm="otel-ingest"'
    if status == 503:  # noqa: PLR2004
        headers["Retry-After"] = str(RETRY_S)
    return _json({"error": {"code": code, "message": message}}, status, headers)


def _json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)
    return Response(
        content,
        status,
        {"Cache-Control": "no-store"} | (headers or {}),
        media_type="application/json",
    )
