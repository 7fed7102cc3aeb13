"""logger_stats and logger_fields: numbers are exact, what is not shown stays in a remainder, wrong names teach."""

import json
import statistics
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from storage.columns import METRIC_POINTS, SPANS
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, metric_point_row, now_us, span_row

MS = 1_000_000


async def ask(engine: AsyncEngine, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the data of an answer that keeps to its budget both ways, text and data."""
    answer = await call(Reader(engine), "read", tool, arguments)
    room = arguments.get("max_tokens", 4_000) * 4 * 1.05
    assert len(answer.text) <= room
    assert len(json.dumps(answer.data, ensure_ascii=False)) <= room
    return answer.data


@pytest.fixture
async def store(engine: AsyncEngine) -> AsyncEngine:
    """Return a store of 60 components' logs, spans with durations 1 to 100 ms, and some metric points."""
    at = now_us() - 30_000_000
    logs = [
        log_row(time=at + i * 1000, component=f"c{i % 60:02}", attributes=b'{"http.status_code": %d, "user": "u%d"}'
                % (500 if i % 7 == 0 else 200, i % 11))
        for i in range(600)
    ]  # fmt: skip
    spans = [
        span_row(time=at + i * 1000, span_id=i + 1, name=f"GET /{i % 2}", duration_ns=(i + 1) * MS,
                 status_code=2 if i % 10 == 0 else None) for i in range(100)
    ]  # fmt: skip
    points = [metric_point_row(time=at + i * 1000, name="queue.length", value_int=i) for i in range(10)]
    sink = PostgresSink(engine)
    await sink.write([batch_of(logs)])
    await sink.write([batch_of(spans, SPANS)])
    await sink.write([batch_of(points, METRIC_POINTS)])
    return engine


@pytest.mark.parametrize("arguments", [
    {"group_by": ["component"], "top": 7},
    {"group_by": ["component"], "top": 7, "query": "*"},
    {"group_by": ["component"], "top": 1000, "max_tokens": 400},
    {"group_by": ["user", "http.status_code"], "top": 3, "interval": "1s"},
    {"group_by": ["component", "severity"], "top": 50, "interval": "1s", "max_tokens": 600},
    {"group_by": []},
    {"group_by": [], "interval": "1s"},
])  # fmt: skip
async def test_counts_add_up(store: AsyncEngine, arguments: dict[str, Any]) -> None:
    """Shown and remainder are all records, by the roll-up's way and by the rows', whatever the budget."""
    data = await ask(store, "logger_stats", **arguments)

    assert sum(row["count"] for row in data["groups"]) == data["matched"] == 600
    assert data["returned"] + data["left_out"] == 600
    others = sum(row["count"] for row in data["groups"] if "other_groups" in row)
    assert others == data["left_out"]
    assert data["truncated"] is (others > 0)


async def test_percentiles_of_durations(store: AsyncEngine) -> None:
    """p50 and p99 of a group and of the remainder are those of its rows."""
    data = await ask(store, "logger_stats", signal="spans", agg="p50", group_by=["name"], top=1)
    whole = await ask(store, "logger_stats", signal="spans", agg="p99", group_by=[])

    durations = [[i + 1 for i in range(100) if i % 2 == parity] for parity in (0, 1)]
    assert [row["p50_duration_ms"] for row in data["groups"]] == [
        statistics.median(durations[1]),
        statistics.median(durations[0]),
    ]
    assert whole["groups"] == [{"p99_duration_ms": 99.01, "count": 100}]


@pytest.mark.parametrize(("arguments", "label", "value"), [
    ({"signal": "spans", "agg": "max", "query": "status:error", "group_by": []}, "max_duration_ms", 91),
    ({"signal": "metrics", "agg": "avg", "name": "queue.length", "group_by": []}, "avg_value", 4.5),
    ({"agg": "count_distinct", "field": "user", "group_by": []}, "count_distinct_user", 11),
    ({"agg": "min", "field": "http.status_code", "query": "@user:u1", "group_by": []}, "min_http.status_code", 200),
    ({"agg": "sum", "field": "body_chars", "group_by": []}, "sum_body_chars", 3000),
])  # fmt: skip
async def test_measures(store: AsyncEngine, arguments: dict[str, Any], label: str, value: float) -> None:
    """Each signal has its numbers."""
    data = await ask(store, "logger_stats", **arguments)

    assert data["groups"][0][label] == value


@pytest.mark.parametrize(("tool", "arguments", "expected"), [
    ("logger_stats", {"group_by": ["http.status_cod"]}, "UNKNOWN_FIELD: no record that matches has the field"),
    ("logger_stats", {"agg": "avg", "field": "http.status_cde"}, "UNKNOWN_FIELD: no record that matches has the"),
    ("logger_stats", {"agg": "avg", "field": "user"}, "INVALID_ARGUMENT: user holds string, not numbers"),
    ("logger_stats", {"agg": "p95"}, "INVALID_ARGUMENT: agg=p95 needs field="),
    ("logger_stats", {"signal": "spans", "text": "x"}, "INVALID_ARGUMENT: severity_min and text are of log records"),
    ("logger_stats", {"group_by": ["a", "b", "c", "d"]}, "INVALID_ARGUMENT: logger_stats: group_by="),
    ("logger_stats", {"group_by": [], "interval": "1s", "since": "30m", "max_tokens": 256, "query": "*"}, None),
    ("logger_fields", {"key": "usr"}, 'UNKNOWN_FIELD: no record that matches has the field "usr". Did you mean'),
    ("logger_fields", {"prefix": "htp."}, "UNKNOWN_FIELD"),
])  # fmt: skip
async def test_wrong_names_teach(
    store: AsyncEngine, tool: str, arguments: dict[str, Any], expected: str | None
) -> None:
    """The nearest name that there is stands in the error."""
    if expected is None:
        assert (await ask(store, tool, **arguments))["matched"] == 600
        return
    with pytest.raises(UserInputError) as caught:
        await ask(store, tool, **arguments)

    assert str(caught.value).startswith(expected)


async def test_fields_have_types_coverage_and_values(store: AsyncEngine) -> None:
    """Attributes, resource and fields, each with what it holds."""
    data = await ask(store, "logger_fields")
    keys = {(k["of"], k["key"]): k for k in data["keys"]}

    status = keys["attribute", "http.status_code"]
    assert (status["types"], status["coverage"], status["distinct"]) == (["number"], 1, 2)
    assert status["top"] == [["200", 514], ["500", 86]]
    assert keys["resource", "service.name"]["top"] == [["shop", 600]]
    assert keys["field", "component"]["distinct"] == 60
    assert data["returned"] == data["matched"]
    assert data["records_read_are_all"]

    for signal in ("spans", "metrics"):
        named = {k["key"] for k in (await ask(store, "logger_fields", signal=signal))["keys"]}
        assert {"component", "name", "service.name"} <= named


@pytest.mark.parametrize("max_tokens", [256, 4_000])
async def test_values_of_one_key_add_up(store: AsyncEngine, max_tokens: int) -> None:
    """Shown, other and without are all records."""
    data = await ask(store, "logger_fields", key="component", limit=30, max_tokens=max_tokens)

    assert data["returned"] + data["left_out"] + data["without_it"] == data["matched"] == 600
    assert len(data["values"]) + data["other_values"] == 60


async def test_nothing_found_names_the_attribute_that_was_meant(store: AsyncEngine) -> None:
    """An attribute with a slip finds nothing, and says which one there is."""
    answer = await call(Reader(store), "read", "logger_query", {"attributes": {"usr": "u1"}})

    assert 'no recent record has the attribute "usr". Did you mean "user"?' in answer.text
