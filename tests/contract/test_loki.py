"""Loki's query API against its documented shapes, over a store whose content is known."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx2
import psycopg
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from mcp_tools.loki.routes import Loki
from otel_ingest.config import Endpoint
from otel_ingest.listener import HttpListener
from otel_ingest.sockets import bind
from storage import tokens
from storage.query.regex import RegexError, to_postgresql
from storage.reader import Reader
from tests.factories import attributes, log_record, logs_request
from tests.shapes import check
from tests.stored import LOGS, store
from tests.web_socket import handshake, message

START_S = int(time.time()) // 60 * 60 - 600
TRACE = b"\x4b" * 16


def record(after_s: float, severity: int, text: str | None, **fields: Any) -> Any:
    """Return a log record so long after the start."""
    at = START_S * 1_000_000_000 + int(after_s * 1_000_000_000)
    body = {} if text is None else {"body": {"string_value": text}}
    found = log_record(time_unix_nano=at, severity_number=severity, severity_text="", **fields)
    found.ClearField("body")
    found.MergeFrom(type(found)(**body))
    return found


SHOP = [
    record(0, 9, "order 1 paid", attributes=attributes(http__route="/pay", n=7)),
    record(60, 17, "Order 2 failed", trace_id=TRACE),
    record(61, 9, "50% of a_b"),
    record(120.000001, 0, None, event_name="order.closed"),
]
PAY = [record(30, 13, "slow\norder 3")]
STREAMS = {
    "status": "success",
    "data": {
        "resultType": "streams",
        "result": [{"stream": dict, "values": [list]}],
        "stats": dict,
        "encodingFlags?": [str],
    },
}
SAMPLE = lambda v: isinstance(v, list) and len(v) == 2 and isinstance(v[0], int | float) and isinstance(v[1], str)  # noqa: E731
MATRIX = {
    "status": "success",
    "data": {"resultType": "matrix", "result": [{"metric": dict, "values": [SAMPLE]}], "stats": dict},
}
VECTOR = {
    "status": "success",
    "data": {"resultType": "vector", "result": [{"metric": dict, "value": SAMPLE}], "stats": dict},
}


@pytest.fixture
async def loki(engine: AsyncEngine) -> Starlette:
    """Return the application over two components."""
    await store(engine, LOGS, logs_request(SHOP), logs_request(PAY, "pay"))
    return Starlette(routes=Loki(Reader(engine), partial(tokens.verify, engine)).routes())


@pytest.fixture
async def client(engine: AsyncEngine, loki: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client with a read token."""
    token, _ = await tokens.create(engine, "logcli", "read")
    headers = {"Authorization": f"Bearer {token}"}
    base = "http://loki/loki/api/v1/"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(loki), base_url=base, headers=headers) as found:
        yield found


WINDOW = {"start": str(START_S), "end": str(START_S + 300)}


async def get(client: httpx2.AsyncClient, path: str, **parameters: Any) -> Any:
    """Return the JSON of an answer."""
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def lines(client: httpx2.AsyncClient, query: str, **parameters: Any) -> list[str]:
    """Return the lines of a log query, newest first."""
    answer = await get(client, "query_range", query=query, **WINDOW | parameters)
    check(answer, STREAMS)
    found = [tuple(value) for stream in answer["data"]["result"] for value in stream["values"]]
    for value in found:
        assert len(value) == 2
        assert re.fullmatch(r"\d{19}", value[0])
    return [line for _, line in sorted(found, reverse=True)]


FILTERS = [
    ('{component="shop"}', ["order.closed", "50% of a_b", "Order 2 failed", "order 1 paid"]),
    ('{component=~".+"} |= "order"', ["order.closed", "slow\norder 3", "order 1 paid"]),
    ('{component=~".+"} |~ "(?i)order" != "paid"', ["order.closed", "Order 2 failed", "slow\norder 3"]),
    ('{component=~".+"} |~ "slow.order"', []),
    ('{component=~".+"} |~ "(?s)slow.order"', ["slow\norder 3"]),
    ('{component=~".+"} |~ "^order"', ["order.closed", "order 1 paid"]),
    ('{component="shop"} |= "50%"', ["50% of a_b"]),
    ('{component="shop"} |= "a_b" or "paid"', ["50% of a_b", "order 1 paid"]),
    ('{component="shop"} !~ "order|Order"', ["50% of a_b"]),
    ('{level="error"}', ["Order 2 failed"]),
    ('{level=~"warn|error"}', ["Order 2 failed", "slow\norder 3"]),
    ('{level="unknown"}', ["order.closed"]),
    ('{component="shop"} | level!="info"', ["order.closed", "Order 2 failed"]),
    ('{component="shop"} | trace_id="4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b"', ["Order 2 failed"]),
    ('{service_name="pay"} | drop __error__', ["slow\norder 3"]),
    ('{component="nobody"}', []),
]


async def test_lines(client: httpx2.AsyncClient) -> None:
    """By labels and filters."""
    for query, found in FILTERS:
        assert await lines(client, query) == found, query


async def test_directions_limits_and_windows(client: httpx2.AsyncClient) -> None:
    """Start belongs to it, end does not; a limit cuts at the far end; times in any form."""
    everything = '{component="shop"}'
    forward = await get(client, "query_range", query=everything, direction="forward", **WINDOW)
    texts = [v[1] for s in forward["data"]["result"] if s["stream"]["level"] == "info" for v in s["values"]]
    assert texts == ["order 1 paid", "50% of a_b"]
    assert await lines(client, everything, limit=1) == ["order.closed"]
    assert await lines(client, everything, limit=1, direction="forward") == ["order 1 paid"]
    assert await lines(client, everything, end=f"{START_S + 60}000000000") == ["order 1 paid"]
    start = time.strftime("%Y-%m-%dT%H:%M:%S.5Z", time.gmtime(START_S + 60))
    assert await lines(client, everything, start=start) == ["order.closed", "50% of a_b"]
    assert await lines(client, everything, start=f"{START_S + 120}.000002") == []


async def test_streams_and_what_is_known_of_a_line(client: httpx2.AsyncClient) -> None:
    """The labels of a stream; with categorize-labels the attributes and ids of each line as Grafana wants them."""
    plain = await get(client, "query_range", query='{level="info"}', **WINDOW)
    assert [s["stream"] for s in plain["data"]["result"]] == [
        {"component": "shop", "level": "info", "service_name": "shop"}
    ]
    headers = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
    answer = await client.get("query_range", params=WINDOW | {"query": '{level=~"info|error"}'}, headers=headers)
    check(answer.json(), STREAMS)
    assert answer.json()["data"]["encodingFlags"] == ["categorize-labels"]
    by_line = {v[1]: v[2]["structuredMetadata"] for s in answer.json()["data"]["result"] for v in s["values"]}
    assert by_line["order 1 paid"]["http_route"] == "/pay"
    assert by_line["order 1 paid"]["n"] == "7"
    assert by_line["Order 2 failed"]["trace_id"] == TRACE.hex()
    assert by_line["Order 2 failed"]["detected_level"] == "error"


async def test_counts_over_time(client: httpx2.AsyncClient) -> None:
    """A window ends at its point and does not hold its own start; no sample where nothing is."""
    query = 'sum by (component) (count_over_time({component=~".+"}[1m]))'
    answer = await get(client, "query_range", query=query, step="60", **WINDOW)

    check(answer, MATRIX)
    found = {s["metric"]["component"]: [(t - START_S, v) for t, v in s["values"]] for s in answer["data"]["result"]}
    assert found == {"shop": [(0, "1"), (60, "1"), (120, "1"), (180, "1")], "pay": [(60, "1")]}
    longer = await get(client, "query_range", query='count_over_time({level="info"}[90s])', step="30s", **WINDOW)
    (series,) = longer["data"]["result"]
    assert series["metric"] == {"component": "shop", "level": "info", "service_name": "shop"}
    assert [(t - START_S, v) for t, v in series["values"]] == [
        (0, "1"), (30, "1"), (60, "1"), (90, "1"), (120, "1"), (150, "1"),
    ]  # fmt: skip


async def test_instant_queries(client: httpx2.AsyncClient) -> None:
    """One value a series; what Grafana asks to see whether anybody is there."""
    at = str(START_S + 300)
    rate = await get(client, "query", query='sum(rate({component="shop"}[5m]))', time=at)
    check(rate, VECTOR)
    assert rate["data"]["result"] == [{"metric": {}, "value": [START_S + 300, "0.01"]}]
    health = await get(client, "query", query="vector(1)+vector(1)", time=at)
    assert health["data"]["result"] == [{"metric": {}, "value": [START_S + 300, "2"]}]
    assert (await get(client, "query", query="1+1", time=at))["data"]["resultType"] == "scalar"


async def test_labels_series_and_stats(client: httpx2.AsyncClient) -> None:
    """What fills the boxes of Explore."""
    assert await get(client, "labels") == {"status": "success", "data": ["component", "level", "service_name"]}
    assert (await get(client, "label/service_name/values"))["data"] == ["pay", "shop"]
    assert "error" in (await get(client, "label/level/values"))["data"]
    assert (await get(client, "label/nothing/values"))["data"] == []
    series = await get(client, "series", **WINDOW | {"match[]": ['{level="warn"}', '{level="error"}']})
    assert series["data"] == [
        {"component": "pay", "level": "warn", "service_name": "pay"},
        {"component": "shop", "level": "error", "service_name": "shop"},
    ]
    stats = await get(client, "index/stats", query='{component="shop"}', **WINDOW)
    assert stats == {"streams": 3, "chunks": 0, "bytes": 0, "entries": 4}
    build = await get(client, "status/buildinfo")
    check(build, dict.fromkeys(("version", "revision", "branch", "buildUser", "buildDate", "goVersion"), str))
    answer = await client.post("query_range", data=WINDOW | {"query": '{level="error"}'})
    check(answer.json(), STREAMS)


# As Grafana's data source writes them: its check, Explore's boxes, lines, and the volume above them.
AS_SENT: list[tuple[str, Any]] = [
    ("query?direction=backward&query=vector%281%29%2Bvector%281%29&time=4000000000000000000", [[4000000000, "2"]]),
    ("labels?start={start}&end={end}", ["component", "level", "service_name"]),
    ("label/component/values?start={start}&end={end}", ["pay", "shop"]),
    ("label/component/values?start={start}&end={end}&query=%7Blevel%3D%22warn%22%7D", ["pay", "shop"]),
    (("query_range?direction=backward&end={end}&limit=1000&query=%7Bcomponent%3D%22pay%22%7D&start={start}"
      "&step=1000ms"), 1),
    (("query_range?direction=backward&end={end}&query=sum+by+%28level%2C+detected_level%29+%28count_over_time%28%7B"
     "component%3D%22pay%22%7D+%7C+drop+__error__%5B1m%5D%29%29&start={start}&step=60000ms"), 1),
    ("series?start={start}&end={end}&match%5B%5D=%7Bcomponent%3D%22pay%22%7D", 1),
    ("index/stats?query=%7Bcomponent%3D%22pay%22%7D&start={start}&end={end}", None),
]  # fmt: skip


async def test_requests_as_grafana_sends_them(client: httpx2.AsyncClient) -> None:
    """Each is answered: with these values, or with so many streams or series."""
    edges = {"start": START_S * 1_000_000_000, "end": (START_S + 300) * 1_000_000_000}
    headers = {"X-Query-Tags": "Source=grafana", "X-Loki-Response-Encoding-Flags": "categorize-labels"}
    for path, wanted in AS_SENT:
        answer = await client.get(path.format(**edges), headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        data = answer.json().get("data")
        found = data["result"] if isinstance(data, dict) else data
        if path.startswith("query?"):
            found = [series["value"] for series in found]
        assert (len(found) if isinstance(wanted, int) else found) == wanted, path


ERRORS: list[Any] = [
    ("query_range", {"query": "{"}, "parse error at line 1"),
    ("query_range", {"query": '{a="b"}', "limit": "6000"}, "max entries limit per query exceeded"),
    ("query_range", {"query": '{a="b"}', "start": "5", "end": "5"}, "end timestamp must not be before"),
    ("query_range", {"query": '{a="b"}', "start": "then"}, 'could not parse "start"'),
    ("query_range", {"query": '{a="b"}', "direction": "up"}, "invalid direction"),
    ("query_range", {"query": 'rate({a="b"}[1m])', "step": "1ms"}, "maximum resolution of 11,000 points"),
    ("query_range", {"query": 'rate({a="b"}[1m])', "step": "0"}, "step widths are not accepted"),
    ("query", {"query": '{a="b"}'}, "not supported as an instant query type"),
    ("series", {}, "0 matcher(s) given"),
    ("index/stats", {"query": 'rate({a="b"}[1m])'}, "only label matchers"),
]


async def test_errors_are_one_line_of_text(client: httpx2.AsyncClient) -> None:
    """400, text/plain, as logcli and Grafana show it."""
    for path, parameters, said in ERRORS:
        answer = await client.get(path, params=parameters)
        assert answer.status_code == 400, said
        assert answer.headers["content-type"].startswith("text/plain")
        assert said in answer.text
        assert answer.text.count("\n") == 1


async def test_a_read_token_is_needed(engine: AsyncEngine, client: httpx2.AsyncClient) -> None:
    """None: 401; one for sending: 403."""
    ingest, _ = await tokens.create(engine, "sender", "ingest")
    for path in ("query", "query_range", "labels", "label/level/values", "series", "index/stats", "status/buildinfo"):
        for header, status in (("", 401), ("Bearer oti_read_x", 401), (f"Bearer {ingest}", 403)):
            assert (await client.get(path, headers={"Authorization": header})).status_code == status


async def test_the_tail_tells_what_is_stored(engine: AsyncEngine, loki: Starlette) -> None:
    """Over a real connection: what is there since start, then what comes, of components that are new as well."""
    token, _ = await tokens.create(engine, "logcli", "read")
    listener = HttpListener(loki, bind(Endpoint("127.0.0.1:0"), "query_endpoint"), drain_timeout_s=1, websockets=True)
    await listener.start()
    path = f"/loki/api/v1/tail?query=%7Bcomponent%3D~%22.%2B%22%7D+%7C%3D+%22order%22&start={START_S}&limit=10"
    try:
        async with asyncio.timeout(30):
            refused = await handshake(listener.address, path, "oti_read_x")
            assert refused[2].startswith(b"HTTP/1.1 401")
            wrong = await handshake(listener.address, "/loki/api/v1/tail?query=%7B", token)
            assert wrong[2].startswith(b"HTTP/1.1 400")
            reader, writer, answer = await handshake(listener.address, path, token)
            assert answer.startswith(b"HTTP/1.1 101")
            first = await message(reader)
            check(first, {"streams": [{"stream": dict, "values": [list]}], "dropped_entries": list})
            told = [v[1] for s in first["streams"] for v in s["values"]]
            assert sorted(told) == ["order 1 paid", "order.closed", "slow\norder 3"]
            now = time.time() - START_S
            await store(engine, LOGS, logs_request([record(now, 9, "new order"), record(now, 9, "other")], "fresh"))
            (stream,) = (await message(reader))["streams"]
            assert stream["stream"]["component"] == "fresh"
            assert [v[1] for v in stream["values"]] == ["new order"]
            for one in (refused[1], wrong[1], writer):
                one.close()
    finally:
        await listener.stop()


_atoms = st.sampled_from(
    ["a", "b", ".", r"\d", r"\w", r"\s", "[ab]", "[^a]", "^", "$", r"\b", "1", " ", "\n", "(a|b)", r"\."]
)
_patterns = st.lists(st.tuples(_atoms, st.sampled_from(["", "", "*", "+", "?", "{2}"])), min_size=1, max_size=4)
_subjects = st.text("ab1 .\n", max_size=6)


def test_postgresql_matches_what_go_matches(database_url: str) -> None:
    """Random expressions of what both have, over random lines: RE2, which Go's regexp is, says the same."""
    with psycopg.connect(database_url) as connection:

        @settings(max_examples=300, deadline=None)
        @given(st.sampled_from(["", "(?i)", "(?s)"]), _patterns, st.lists(_subjects, min_size=1, max_size=8))
        def agree(flags: str, atoms: list[tuple[str, str]], subjects: list[str]) -> None:
            pattern = flags + "".join(a + q for a, q in atoms if not (q and a in {"^", "$", r"\b"}))
            try:
                translated = to_postgresql(pattern)
            except RegexError:
                return
            found = connection.execute(
                "SELECT array_agg(s ~ %s ORDER BY n) FROM unnest(%s::text[]) WITH ORDINALITY u(s, n)",
                [translated, subjects],
            ).fetchone()
            assert found is not None
            assert found[0] == [re2.search(pattern, s) is not None for s in subjects], (pattern, translated)

        agree()
