"""Loki's query API: lines, counts, labels and the tail, as logcli and Grafana's Explore ask for them."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from mcp_tools.door import DoorError, Endpoint, Verify, guarded
from mcp_tools.loki import answers
from mcp_tools.loki.given import Given
from mcp_tools.loki.labels import LABELS, LEVELS, canonical, level_of, question, stream_of
from mcp_tools.loki.reading import LogQLError, parse
from mcp_tools.loki.series import (
    Points,
    Series,
    SeriesError,
    bins_of,
    counted_in,
    counted_series,
    evaluate,
    points,
)
from mcp_tools.loki.tail import Tail
from mcp_tools.loki.tree import Constant, Counted, Lines, Metric
from storage.filters import LogQuery
from storage.reader import Reader

LINES_MAX = 5_000
_LINES_DEFAULT = 100
_SELECTORS_MAX = 16
# Grafana asks what it talks to and leaves out what an older Loki does not have.
_VERSION = "3.0.0"


class Loki:
    """The routes below /loki/api/v1."""

    def __init__(self, reader: Reader, verify: Verify) -> None:
        self._reader = reader
        self._verify = verify

    def routes(self) -> list[BaseRoute]:
        """Return the routes, each behind a read token."""
        table: dict[str, Endpoint] = {
            "query_range": self._query_range,
            "query": self._query,
            "labels": self._labels,
            "label": self._labels,
            "label/{name}/values": self._values,
            "series": self._series,
            "index/stats": self._stats,
            "status/buildinfo": self._build,
        }
        routes: list[BaseRoute] = [
            Route(f"/loki/api/v1/{path}", guarded(self._verify, _plain, _worded(endpoint)), methods=["GET", "POST"])
            for path, endpoint in table.items()
        ]
        tail = Tail(self._reader, self._verify)
        return [*routes, WebSocketRoute("/loki/api/v1/tail", tail.endpoint)]

    async def _query_range(self, request: Request) -> Response:
        given = await Given.of(request)
        query = parse(given.text("query"))
        start, end = given.window(time.time_ns())
        if isinstance(query, Lines):
            return await self._lines(request, given, query, start, end)
        at = points(start, end, given.step_ns(start, end))
        return _json(answers.success("matrix", answers.matrix(await self._evaluated(query, at), at)))

    async def _query(self, request: Request) -> Response:
        given = await Given.of(request)
        query = parse(given.text("query"))
        if isinstance(query, Lines):
            raise DoorError(
                400,
                "log queries are not supported as an instant query type, "
                "please change your query to a range query type",
            )
        now = given.time_ns("time") or time.time_ns()
        at = Points(now, now, 1_000_000)
        series = await self._evaluated(query, at)
        if isinstance(query, Constant) and query.scalar:
            return _json(answers.success("scalar", [answers.seconds(now), answers.number(query.value)]))
        return _json(answers.success("vector", answers.vector(series, at)))

    async def _lines(self, request: Request, given: Given, lines: Lines, start: int, end: int) -> Response:
        limit = given.count("limit", _LINES_DEFAULT)
        if limit > LINES_MAX:
            raise DoorError(
                400,
                f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {LINES_MAX})",
            )
        asked = await self._asked(lines, start, end)
        backward = given.direction() == "backward"
        entries = []
        if asked is not None and limit:
            asked = replace(asked, order="newest" if backward else "oldest", limit=limit)
            entries = await self._reader.read_lines(asked)
        categorized = "categorize-labels" in request.headers.get("x-loki-response-encoding-flags", "")
        found = answers.streams(entries, categorized=categorized)
        return _json(answers.success("streams", found, categorized=categorized))

    async def _evaluated(self, metric: Metric, at: Points) -> Series:
        series: dict[Counted, Series] = {}
        for counted in counted_in(metric):
            bins = bins_of(counted, at)
            # (origin, end] in whole microseconds, which is what the store's times have.
            asked = await self._asked(counted.lines, bins.origin_ns + 1000, bins.end_ns + 1000)
            counts = []
            if asked is not None:
                counts = await self._reader.line_counts(asked, bins.origin_ns, bins.width_ns)
            series[counted] = await asyncio.to_thread(counted_series, counted, at, bins, counts)
        return await asyncio.to_thread(evaluate, metric, at, series.__getitem__)

    async def _asked(self, lines: Lines, start: int, end: int) -> LogQuery | None:
        """Return the question for lines in [start, end), None where nothing can match."""
        found = question(lines, await self._reader.components())
        if found is None:
            return None
        node, filters = found
        return LogQuery(query=node, lines=filters, since_ns=max(start, 0), until_ns=max(end, 0))

    async def _labels(self, _: Request) -> Response:
        return _json({"status": "success", "data": list(LABELS)})

    async def _values(self, request: Request) -> Response:
        name = canonical(request.path_params["name"])
        known = {"component": self._reader.components, "level": _levels}.get(name)
        return _json({"status": "success", "data": sorted(await known()) if known else []})

    async def _series(self, request: Request) -> Response:
        given = await Given.of(request)
        start, end = given.window(time.time_ns())
        selectors = given.several("match[]") or given.several("match")
        if not selectors or len(selectors) > _SELECTORS_MAX:
            raise DoorError(400, f"0 matcher(s) given; match[] takes 1 to {_SELECTORS_MAX}")
        found: dict[tuple[str, str], dict[str, str]] = {}
        for selector in selectors:
            for component, level, _ in await self._streams(selector, start, end):
                found[component, level] = stream_of(component, level)
        return _json({"status": "success", "data": [found[key] for key in sorted(found)]})

    async def _stats(self, request: Request) -> Response:
        given = await Given.of(request)
        start, end = given.window(time.time_ns())
        streams = await self._streams(given.text("query"), start, end)
        entries = sum(count for _, _, count in streams)
        return _json({"streams": len(streams), "chunks": 0, "bytes": 0, "entries": entries})

    async def _streams(self, selector: str, start: int, end: int) -> list[tuple[str, str, int]]:
        """Return component, level and number of lines of the streams of a selector."""
        query = parse(selector)
        if not isinstance(query, Lines):
            raise LogQLError("parse error : only label matchers are supported")
        asked = await self._asked(query, start, end)
        found: dict[tuple[str, str], int] = {}
        for count in await self._reader.line_counts(asked) if asked is not None else ():
            key = count.component, level_of(count.severity_number)
            found[key] = found.get(key, 0) + count.count
        return [(*key, n) for key, n in found.items()]

    async def _build(self, _: Request) -> Response:
        empty = dict.fromkeys(("revision", "branch", "buildUser", "buildDate", "goVersion"), "")
        return _json({"version": _VERSION, **empty})


async def _levels() -> list[str]:
    return list(LEVELS)


def _worded(endpoint: Endpoint) -> Endpoint:
    """Return ``endpoint`` with the errors of LogQL as 400."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (LogQLError, SeriesError) as error:
            raise DoorError(400, str(error)) from error

    return answer


def _plain(status: int, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status)


def _json(data: Any) -> Response:
    return Response(orjson.dumps(data), media_type="application/json")
