"""Jaeger's query API against its documented shapes, over a store whose content is known."""

import re
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx2
import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from mcp_tools.jaeger import Jaeger
from otel_ingest.cli.otlp_reading import otlp_trace
from otel_ingest.limits import Limits
from otel_ingest.signals import TRACES
from otel_ingest.wire import json_mapping
from storage import tokens
from storage.reader import Reader
from tests.equality import records_of
from tests.factories import attributes, log_record, logs_request, span, traces_request
from tests.shapes import check
from tests.stored import LOGS, store

NOW_NS = time.time_ns() // 1_000_000_000 * 1_000_000_000
TRACE = bytes.fromhex("5b8efff798038103d269b633813fc60c")
OTHER = bytes.fromhex("00000000000000000000000000000abc")


def at(after_ms: int, duration_ms: int) -> dict[str, int]:
    """Return start and end of a span."""
    start = NOW_NS + after_ms * 1_000_000
    return {"start_time_unix_nano": start, "end_time_unix_nano": start + duration_ms * 1_000_000}


SHOP = traces_request(
    [
        span(trace_id=TRACE, span_id=b"\1" * 8, name="POST /orders", kind=2,
             attributes=attributes(http__route="/orders"), **at(0, 100)),
        span(trace_id=TRACE, span_id=b"\2" * 8, parent_span_id=b"\1" * 8, name="POST", kind=3, **at(10, 80)),
        span(trace_id=OTHER, span_id=b"\1" * 8, name="GET /", kind=2, **at(-60_000, 2)),
    ]
)  # fmt: skip
PAY = traces_request(
    [
        span(
            trace_id=TRACE, span_id=b"\xff" * 8, parent_span_id=b"\2" * 8, name="charge", kind=2,
            status={"code": 2, "message": "declined"}, trace_state="a=1",
            attributes=attributes(http__response__status_code=500, ok=False, ratio=1.5),
            events=[{"name": "exception", "time_unix_nano": NOW_NS + 20_000_000,
                     "attributes": attributes(exception__type="E")}],
            links=[{"trace_id": OTHER, "span_id": b"\1" * 8}],
            **at(15, 50),
        )
    ],
    "pay",
)  # fmt: skip
LOG = logs_request(
    [log_record(trace_id=TRACE, span_id=b"\xff" * 8, severity_text="ERROR", time_unix_nano=NOW_NS + 30_000_000,
                body={"string_value": "no money"}, attributes=attributes(amount=7))],
    "pay",
)  # fmt: skip

TAG = (
    {"key": str, "type": "string", "value": str},
    {"key": str, "type": "bool", "value": bool},
    {"key": str, "type": "int64", "value": int},
    {"key": str, "type": "float64", "value": float},
)
HEX = re.compile(r"[0-9a-f]{16}([0-9a-f]{16})?\Z").match
LEGACY_TRACE = {
    "traceID": HEX,
    "spans": [
        {
            "traceID": HEX,
            "spanID": HEX,
            "operationName": str,
            "references": [{"refType": {"CHILD_OF", "FOLLOWS_FROM"}, "traceID": HEX, "spanID": HEX}],
            "startTime": int,
            "duration": int,
            "tags": [TAG],
            "logs": [{"timestamp": int, "fields": [TAG]}],
            "processID": str,
            "warnings": None,
        }
    ],
    "processes": dict,
    "warnings": None,
}


def legacy(data: Any) -> dict[str, Any]:
    """Return the shape of an answer of the older API."""
    return {"data": data, "total": int, "limit": int, "offset": int, "errors": None}


async def no_tokens(_: str) -> None:
    """Let nobody in."""


@pytest.fixture
async def client(engine: AsyncEngine) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client with a read token."""
    await store(engine, TRACES, SHOP, PAY)
    await store(engine, LOGS, LOG)
    token, _ = await tokens.create(engine, "grafana", "read")
    jaeger = Jaeger(Reader(engine), partial(otlp_trace, engine), partial(tokens.verify, engine))
    transport = httpx2.ASGITransport(Starlette(routes=jaeger.routes()))
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://jaeger", headers=headers) as found:
        yield found


async def get(client: httpx2.AsyncClient, path: str, status: int = 200, **parameters: Any) -> Any:
    """Return the JSON of an answer."""
    answer = await client.get(path, params={k.replace("__", "."): v for k, v in parameters.items()})
    assert answer.status_code == status, answer.text
    return answer.json()


WINDOW = {
    "query__start_time_min": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_NS // 1_000_000_000 - 3600)),
    "query__start_time_max": time.strftime("%Y-%m-%dT%H:%M:%S.5Z", time.gmtime(NOW_NS // 1_000_000_000 + 3600)),
}


async def test_services_and_operations(client: httpx2.AsyncClient) -> None:
    """Both generations, by kind too."""
    assert await get(client, "/api/v3/services") == {"services": ["pay", "shop"]}
    shop = await get(client, "/api/v3/operations", service="shop")
    assert shop == {
        "operations": [
            {"name": "GET /", "spanKind": "server"},
            {"name": "POST", "spanKind": "client"},
            {"name": "POST /orders", "spanKind": "server"},
        ]
    }
    assert await get(client, "/api/v3/operations", service="shop", span_kind="client") == {
        "operations": [{"name": "POST", "spanKind": "client"}]
    }
    services = await get(client, "/api/services")
    check(services, legacy([str]))
    assert services["data"] == ["pay", "shop"]
    assert (await get(client, "/api/services/shop/operations"))["data"] == ["GET /", "POST", "POST /orders"]
    assert (await get(client, "/api/services/team%2Fshop/operations"))["data"] == []


async def test_a_trace_in_otlp_is_the_one_that_came_in(client: httpx2.AsyncClient) -> None:
    """{"result": {"resourceSpans": …}}, read back as OTLP/JSON: equal, field by field."""
    answer = await get(client, f"/api/v3/traces/{TRACE.hex()}")

    assert set(answer) == {"result"}
    parsed = json_mapping.parse_whole(TRACES, orjson.dumps(answer["result"]), Limits())
    expected = TRACES.request_type()
    expected.MergeFrom(SHOP)
    del expected.resource_spans[0].scope_spans[0].spans[2:]
    expected.MergeFrom(PAY)
    assert records_of(parsed.message) == records_of(expected)
    assert await get(client, f"/api/v3/traces/{TRACE.hex().upper()}") == answer


OTLP_SEARCHES: list[Any] = [
    ({"query__service_name": "shop"}, {TRACE, OTHER}),
    ({"query__serviceName": "pay"}, {TRACE}),
    ({"query__serviceName": "shop", "query__operationName": "GET /"}, {OTHER}),
    ({"query__serviceName": "shop", "query__durationMin": "50ms"}, {TRACE}),
    ({"query__serviceName": "shop", "query__duration_max": "5ms"}, {OTHER}),
    ({"query__attributes": '{"http.response.status_code":"500"}'}, {TRACE}),
    ({"query__attributes": '{"error":"true"}'}, {TRACE}),
    ({"query__serviceName": "shop", "query__search_depth": "1"}, {TRACE}),
]


async def test_search_in_otlp(client: httpx2.AsyncClient) -> None:
    """Parameters in both spellings; summaries name the same traces."""
    for asked, found in OTLP_SEARCHES:
        answer = await get(client, "/api/v3/traces", **WINDOW, **asked)
        message = json_mapping.parse_whole(TRACES, orjson.dumps(answer["result"]), Limits()).message
        ids = {s.trace_id for group in message.resource_spans for scope in group.scope_spans for s in scope.spans}
        assert ids == found

        summaries = (await get(client, "/api/v3/trace-summaries", **WINDOW, **asked))["summaries"]
        number = re.compile(r"[0-9]+\Z").match
        service = {"name": str, "spanCount": int, "errorSpanCount": int}
        shape = {
            "traceId": HEX, "rootServiceName": str, "rootOperationName": str, "minStartTimeUnixNano": number,
            "maxEndTimeUnixNano": number, "spanCount": int, "errorSpanCount": int, "services": [service],
        }  # fmt: skip
        check(summaries, [shape])
        assert {bytes.fromhex(s["traceId"]) for s in summaries} == found


async def test_a_summary_counts_by_service(client: httpx2.AsyncClient) -> None:
    """Spans and errors of each, over the whole trace; start and end to the nanosecond."""
    asked = {"query__service_name": "pay"}
    (summary,) = (await get(client, "/api/v3/trace-summaries", **WINDOW, **asked))["summaries"]

    assert summary["services"] == [
        {"name": "pay", "spanCount": 1, "errorSpanCount": 1},
        {"name": "shop", "spanCount": 2, "errorSpanCount": 0},
    ]
    assert (summary["rootServiceName"], summary["rootOperationName"]) == ("shop", "POST /orders")
    assert summary["minStartTimeUnixNano"] == str(NOW_NS)
    assert summary["maxEndTimeUnixNano"] == str(NOW_NS + 100_000_000)


async def test_a_trace_in_the_older_model(client: httpx2.AsyncClient) -> None:
    """Microseconds, typed tags, references; events and log records of a span are its logs."""
    answer = await get(client, f"/api/traces/{TRACE.hex()}")
    check(answer, legacy([LEGACY_TRACE]))

    (trace,) = answer["data"]
    spans = {s["operationName"]: s for s in trace["spans"]}
    charge = spans["charge"]
    assert charge["startTime"] == (NOW_NS + 15_000_000) // 1000
    assert charge["duration"] == 50_000
    assert charge["references"] == [
        {"refType": "CHILD_OF", "traceID": TRACE.hex(), "spanID": "02" * 8},
        {"refType": "FOLLOWS_FROM", "traceID": OTHER.hex(), "spanID": "01" * 8},
    ]
    assert {t["key"]: t["value"] for t in charge["tags"]} == {
        "http.response.status_code": 500, "ok": False, "ratio": 1.5, "span.kind": "server", "otel.status_code": "ERROR",
        "error": True, "otel.status_description": "declined", "otel.scope.name": "tests", "w3c.tracestate": "a=1",
    }  # fmt: skip
    logs = [{f["key"]: f["value"] for f in entry["fields"]} for entry in charge["logs"]]
    assert logs == [
        {"event": "exception", "exception.type": "E"},
        {"level": "ERROR", "message": "no money", "amount": 7},
    ]
    assert trace["processes"][charge["processID"]]["serviceName"] == "pay"
    assert spans["POST"]["processID"] == spans["POST /orders"]["processID"] != charge["processID"]


SEARCHES: list[Any] = [
    ({"service": "shop"}, {TRACE, OTHER}),
    ({"service": "shop", "operation": "all", "lookback": "1h"}, {TRACE, OTHER}),
    ({"service": "shop", "tags": '{"http.route":"/orders"}'}, {TRACE}),
    ({"service": "pay", "tag": ["error:true", "span.kind:server"]}, {TRACE}),
    ({"service": "pay", "tag": "error:false"}, set()),
    ({"service": "shop", "minDuration": "1.5ms", "maxDuration": "2ms"}, {OTHER}),
    ({"service": "shop", "start": str(NOW_NS // 1000 - 1), "end": str(NOW_NS // 1000 + 1_000_000)}, {TRACE}),
    ({"traceID": [TRACE.hex(), "abc", "ab"]}, {TRACE, OTHER}),
]


async def test_search_in_the_older_model(client: httpx2.AsyncClient) -> None:
    """Whole traces; nothing found is an empty list here."""
    for asked, found in SEARCHES:
        answer = await get(client, "/api/traces", **asked)

        check(answer, legacy([LEGACY_TRACE]))
        assert {bytes.fromhex(t["traceID"]) for t in answer["data"]} == found


async def test_who_calls_whom(client: httpx2.AsyncClient) -> None:
    """In both generations."""
    now_ms = NOW_NS // 1_000_000
    older = await get(client, "/api/dependencies", endTs=now_ms + 60_000, lookback=3_600_000)
    check(older, legacy([{"parent": str, "child": str, "callCount": int}]))
    assert older["data"] == [{"parent": "shop", "child": "pay", "callCount": 1}]
    window = {"startTime": WINDOW["query__start_time_min"], "endTime": WINDOW["query__start_time_max"]}
    newer = await get(client, "/api/v3/dependencies", **window)
    assert newer == {"dependencies": [{"parent": "shop", "child": "pay", "callCount": "1"}]}
    assert (await get(client, "/api/dependencies", endTs=now_ms - 7_200_000, lookback=60_000))["data"] == []


# As Jaeger's page and Grafana's data source write them, parameters without values included.
AS_SENT: list[tuple[str, int]] = [
    ("/api/services", 2),
    ("/api/services/shop/operations", 3),
    ("/api/operations?service=shop", 3),
    ("/api/operations?service=shop&spanKind=server", 2),
    ("/api/traces?end={end}&limit=20&lookback=1h&maxDuration&minDuration&service=shop&start={start}", 2),
    (("/api/traces?end={end}&limit=20&lookback=2d&maxDuration=2ms&minDuration=1ms&operation=GET%20%2F&service=shop"
     "&start={start}"), 1),
    (("/api/traces?end={end}&limit=20&lookback=1h&maxDuration&minDuration&service=pay&start={start}"
     "&tags=%7B%22error%22%3A%22true%22%7D"), 1),
    ("/api/traces?traceID={trace}", 1),
    ("/api/traces/{trace}?prettyPrint=true", 1),
    ("/api/dependencies?endTs={end_ms}&lookback=86400000", 1),
    (("/api/traces?service=pay&operation=charge&tags=%7B%22http.response.status_code%22%3A%22500%22%7D&minDuration="
     "&maxDuration=&limit=20&lookback=custom&start={start}&end={end}"), 1),
    ("/api/traces/{trace}?start={start}&end={end}", 1),
]  # fmt: skip


async def test_requests_as_jaegers_page_and_grafana_send_them(client: httpx2.AsyncClient) -> None:
    """Each is answered with as many things as there are."""
    now_us = NOW_NS // 1000
    given = {"start": now_us - 3_600_000_000, "end": now_us + 3_600_000_000, "end_ms": now_us // 1000 + 60_000}
    for path, things in AS_SENT:
        answer = await client.get(path.format(trace=TRACE.hex(), **given))
        assert answer.status_code == 200, (path, answer.text)
        assert len(answer.json()["data"]) == things, path


ERRORS: list[Any] = [
    ("/api/v3/traces/ab", {}, 404, "trace not found"),
    ("/api/v3/traces/xyz", {}, 400, "32 hexadecimal digits"),
    ("/api/v3/traces", {"query__service_name": "shop"}, 400, "startTimeMin"),
    ("/api/v3/traces", WINDOW | {"query__service_name": "nobody"}, 404, "No traces found"),
    ("/api/v3/traces", WINDOW | {"query__duration_min": "5"}, 400, "query.duration_min: '5' is no duration"),
    ("/api/v3/traces", WINDOW | {"query__attributes": "[]"}, 400, "a JSON object of texts"),
    ("/api/v3/traces", WINDOW | {"query__filter": "{}"}, 400, "query.filter is not supported"),
    ("/api/v3/traces", {**WINDOW, "query__start_time_min": "yesterday"}, 400, "is no time"),
    ("/api/v3/operations", {}, 400, "service is required"),
    ("/api/v3/operations", {"service": "shop", "spanKind": "x"}, 400, "unsupported span kind"),
    ("/api/traces/ab", {}, 404, "trace not found"),
    ("/api/traces", {}, 400, "'service' is required"),
    ("/api/traces", {"service": "shop", "tag": "x"}, 400, "expecting key:value"),
    ("/api/traces", {"service": "shop", "limit": "-1"}, 400, "limit"),
    ("/api/traces", {"service": "shop\0"}, 400, "PostgreSQL cannot hold"),
    ("/api/dependencies", {}, 400, "endTs"),
]


async def test_errors(client: httpx2.AsyncClient) -> None:
    """A real status, and the body that Jaeger's clients read."""
    for path, parameters, status, said in ERRORS:
        answer = await get(client, path, status, **parameters)

        if path.startswith("/api/v3"):
            check(answer, {"error": {"httpCode": status, "message": str}})
            assert said in answer["error"]["message"]
        else:
            check(answer, {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": status, "msg": str}]})
            assert said in answer["errors"][0]["msg"]


async def test_a_read_token_is_needed(engine: AsyncEngine, client: httpx2.AsyncClient) -> None:
    """None: 401; one for sending: 403; on every route."""
    ingest, _ = await tokens.create(engine, "sender", "ingest")
    paths = [r.path for r in Jaeger(Reader(engine), partial(otlp_trace, engine), no_tokens).routes()]  # type: ignore[attr-defined]
    assert len(paths) == 12
    for path in paths:
        for header, status in (("", 401), ("Bearer oti_read_x", 401), (f"Bearer {ingest}", 403)):
            answer = await client.get(path.replace("{service:path}", "shop"), headers={"Authorization": header})
            assert answer.status_code == status, path
