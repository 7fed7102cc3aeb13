"""Jaeger's query API: /api/v3 in OTLP/JSON and the older /api of its page and of Grafana's data source.

What is not there is 404, never an empty 200: Grafana takes the first trace of any answer.
"""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mcp_tools.door import DoorError, Endpoint, Verify, guarded
from mcp_tools.go_values import rfc3339_ns
from mcp_tools.jaeger_json import trace_json
from mcp_tools.jaeger_query import TRACES_MAX, Parameters, legacy_query, span_kind, v3_query
from storage.filters import TraceQuery
from storage.reader import Reader
from storage.views import TraceSummary

OtlpTrace = Callable[[str, int], Awaitable[tuple[list[Any], int]]]
"""(trace id, spans at most) -> its ``resourceSpans`` in OTLP/JSON, and how many spans they hold."""

# Of one answer, whatever it holds: about 50 MB of JSON.
SPANS_MAX = 50_000
# Calls of a longer time are those of its end: it is a join of all spans with their parents.
CALLS_WINDOW_NS = 24 * 3_600 * 1_000_000_000
_HEX = re.compile(r"[0-9a-fA-F]{1,32}\Z")


class Jaeger:
    """The routes of both generations."""

    def __init__(self, reader: Reader, otlp: OtlpTrace, verify: Verify) -> None:
        self._reader = reader
        self._otlp = otlp
        self._verify = verify

    def routes(self) -> list[BaseRoute]:
        """Return the routes, each behind a read token."""
        table: dict[str, Endpoint] = {
            "/api/v3/services": self._services,
            "/api/v3/operations": self._operations,
            "/api/v3/traces": self._traces,
            "/api/v3/traces/{trace_id}": self._trace,
            "/api/v3/trace-summaries": self._summaries,
            "/api/v3/dependencies": self._dependencies,
        }
        legacy: dict[str, Endpoint] = {
            "/api/services": self._legacy_services,
            "/api/services/{service:path}/operations": self._legacy_operations,
            "/api/operations": self._legacy_operations_and_kinds,
            "/api/traces": self._legacy_traces,
            "/api/traces/{trace_id}": self._legacy_trace,
            "/api/dependencies": self._legacy_dependencies,
        }
        routes = [Route(p, guarded(self._verify, _v3_error, e), methods=["GET"]) for p, e in table.items()]
        routes += [Route(p, guarded(self._verify, _legacy_error, e), methods=["GET"]) for p, e in legacy.items()]
        return list(routes)

    async def _services(self, _: Request) -> Response:
        return _json({"services": await self._reader.components()})

    async def _operations(self, request: Request) -> Response:
        given = Parameters(request.query_params)
        service = given.text("service")
        if not service:
            raise DoorError(400, "parameter service is required")
        found = await self._reader.operations(service, span_kind(given.text("spanKind", "span_kind")))
        return _json({"operations": [{"name": o.name, "spanKind": o.kind} for o in found]})

    async def _trace(self, request: Request) -> Response:
        trace_id = _trace_id(request.path_params["trace_id"])
        spans, _ = await self._otlp(trace_id, SPANS_MAX)
        if not spans:
            raise DoorError(404, "trace not found")
        return _json({"result": {"resourceSpans": spans}})

    async def _traces(self, request: Request) -> Response:
        found = await self._reader.trace_ids(v3_query(Parameters(request.query_params)))
        if not found:
            raise DoorError(404, "No traces found")
        spans, room = [], SPANS_MAX
        for trace_id in found:
            more, count = await self._otlp(trace_id, room)
            spans += more
            room -= count
            if room <= 0:
                break
        return _json({"result": {"resourceSpans": spans}})

    async def _summaries(self, request: Request) -> Response:
        found = await self._found(v3_query(Parameters(request.query_params)))
        by_service = await self._reader.spans_by_service([s.trace_id for s in found])
        return _json({"summaries": [_summary(s, by_service.get(s.trace_id, [])) for s in found]})

    async def _found(self, query: TraceQuery) -> list[TraceSummary]:
        found = (await self._reader.find_traces(query)).items
        if not found:
            raise DoorError(404, "No traces found")
        return found

    async def _dependencies(self, request: Request) -> Response:
        given = Parameters(request.query_params)
        until = given.read(rfc3339_ns, "endTime", "end_time")
        since = given.read(rfc3339_ns, "startTime", "start_time")
        if since is None or until is None:
            raise DoorError(400, "startTime and endTime are required, as RFC 3339")
        found = await self._calls(since, until)
        # A number of 64 bits is text in protobuf's JSON.
        return _json({"dependencies": [c | {"callCount": str(c["callCount"])} for c in found]})

    async def _legacy_services(self, _: Request) -> Response:
        return _legacy(await self._reader.components())

    async def _legacy_operations(self, request: Request) -> Response:
        found = await self._reader.operations(request.path_params["service"])
        return _legacy(sorted({o.name for o in found}))

    async def _legacy_operations_and_kinds(self, request: Request) -> Response:
        given = Parameters(request.query_params)
        if not given.text("service"):
            raise DoorError(400, "parameter 'service' is required")
        found = await self._reader.operations(given.text("service"), span_kind(given.text("spanKind")))
        return _legacy([{"name": o.name, "spanKind": o.kind} for o in found])

    async def _legacy_traces(self, request: Request) -> Response:
        wanted = [_trace_id(i) for i in request.query_params.getlist("traceID")[:TRACES_MAX]]
        if not wanted:
            tags = request.query_params.getlist("tag")
            query = legacy_query(Parameters(request.query_params), tags, time.time_ns())
            wanted = await self._reader.trace_ids(query)
        found = await self._reader.whole_traces(wanted, spans_max=SPANS_MAX, logs_max=SPANS_MAX)
        return _legacy([trace_json(trace) for trace in found if trace.spans], limit=len(wanted))

    async def _legacy_trace(self, request: Request) -> Response:
        trace_id = _trace_id(request.path_params["trace_id"])
        found = await self._reader.whole_traces([trace_id], spans_max=SPANS_MAX, logs_max=SPANS_MAX)
        if not found or not found[0].spans:
            raise DoorError(404, "trace not found")
        return _legacy([trace_json(found[0])])

    async def _legacy_dependencies(self, request: Request) -> Response:
        given = Parameters(request.query_params)
        until = given.read(_ms, "endTs")
        if until is None:
            raise DoorError(400, "unable to parse param 'endTs': it is a number of milliseconds since 1970")
        lookback = given.read(_ms, "lookback")
        return _legacy(await self._calls(until - (CALLS_WINDOW_NS if lookback is None else lookback), until))

    async def _calls(self, since_ns: int, until_ns: int) -> list[dict[str, Any]]:
        calls = await self._reader.calls(max(since_ns, until_ns - CALLS_WINDOW_NS, 0), max(until_ns, 0))
        return [{"parent": c.parent, "child": c.child, "callCount": c.count} for c in calls]


def _summary(summary: TraceSummary, services: list[Any]) -> dict[str, Any]:
    return {
        "traceId": summary.trace_id,
        "rootServiceName": summary.root_component,
        "rootOperationName": summary.root_name,
        "minStartTimeUnixNano": str(summary.start_ns),
        "maxEndTimeUnixNano": str(summary.start_ns + summary.duration_ns),
        "spanCount": summary.span_count,
        "errorSpanCount": summary.error_count,
        "services": [{"name": s.component, "spanCount": s.spans, "errorSpanCount": s.errors} for s in services],
    }


def _trace_id(text: str) -> str:
    """Return a trace id of up to 32 digits; older clients leave out zeros in front."""
    if not _HEX.match(text):
        raise DoorError(400, f"malformed trace id {text[:60]!r}: it is 32 hexadecimal digits")
    return text.lower().rjust(32, "0")


def _ms(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 13:  # noqa: PLR2004 - to the year 2286
        raise ValueError(f"{text[:60]!r} is no number of milliseconds")
    return int(text) * 1_000_000


def _v3_error(status: int, message: str) -> Response:
    return _json({"error": {"httpCode": status, "message": message}}, status)


def _legacy_error(status: int, message: str) -> Response:
    return _legacy(None, status, errors=[{"code": status, "msg": message}])


def _legacy(data: Any, status: int = 200, *, errors: list[Any] | None = None, limit: int = 0) -> Response:
    total = len(data) if isinstance(data, list) else 0
    return _json({"data": data, "total": total, "limit": limit, "offset": 0, "errors": errors}, status)


def _json(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS), status, media_type="application/json")
