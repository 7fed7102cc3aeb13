"""The views for psql and Grafana: what they hold, who may read them, and every query of the dashboards."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import roles
from storage.columns import SPANS
from storage.errors import PermanentStoreError
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us, span_row

DASHBOARDS = Path(__file__).resolve().parents[2] / "examples" / "grafana"
TRACE = b"\x4b" * 16
LOGIN, PASSWORD = "otel_ingest_grafana", "g" * 20
EVENT = json.dumps(
    [{"time_unix_nano": 1, "name": "retry", "attributes": {"n": 2}, "dropped_attributes_count": 0}]
).encode()


@pytest.fixture
async def url(engine: AsyncEngine, database_url: str) -> str:
    """Return the URL of a login for dashboards, on a store with one trace through two services."""
    at = now_us()
    sink = PostgresSink(engine)
    logs = [
        log_row(time=at, trace_id=TRACE, span_id=-2, severity_number=17, severity_text="ERR", body="no money"),
        log_row(time=at, trace_id=None, span_id=None, severity_number=0, body=None, component="pay"),
    ]
    spans = [
        span_row(time=at, trace_id=TRACE, span_id=1, kind=2, component="shop", name="GET /pay"),
        span_row(time=at, trace_id=TRACE, span_id=3, parent_span_id=1, kind=3, name="POST"),
        span_row(
            time=at, trace_id=TRACE, span_id=-2, parent_span_id=3, kind=2, component="pay", name="charge",
            status_code=2, status_message="declined", duration_ns=1_500_000, events=EVENT,
            attributes=b'{"http.route":"/charge"}',
        ),
    ]  # fmt: skip
    for batch in (batch_of(logs), batch_of(spans, SPANS)):
        (outcome,) = await sink.write([batch])
        assert not outcome.rejected
    await roles.make_login(database_url, LOGIN, PASSWORD)
    return roles.url_as(database_url, LOGIN, PASSWORD).replace("+psycopg", "")


def rows(url: str, query: str) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_log_records_and_spans_are_readable(url: str) -> None:
    """Ids are hexadecimal, levels and kinds are words, what was not given is NULL."""
    failed, empty = rows(url, "SELECT * FROM otel_logs ORDER BY id")

    assert (failed["level"], failed["severity"], failed["service"], failed["body"]) == (
        "error",
        "ERR",
        "shop",
        "no money",
    )
    assert (failed["trace_id"], failed["span_id"]) == (TRACE.hex(), "fffffffffffffffe")
    assert failed["resource"] == {"service.name": "shop"}
    assert (empty["level"], empty["body"], empty["trace_id"], empty["span_id"]) == ("unset", None, None, None)
    (charge,) = rows(
        url, "SELECT * FROM otel_spans WHERE trace_uuid = '4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b' AND name = 'charge'"
    )
    assert (charge["kind"], charge["status"], charge["duration_ms"]) == ("server", "error", 1.5)
    assert (charge["span_id"], charge["parent_span_id"]) == ("fffffffffffffffe", "0000000000000003")


async def test_a_trace_has_the_columns_of_the_panel(url: str) -> None:
    """Milliseconds, pairs of key and value, the error marked, events and log records in one list."""
    (charge,) = rows(url, "SELECT * FROM otel_traces_panel WHERE \"operationName\" = 'charge'")

    assert charge["traceID"] == TRACE.hex()
    assert charge["duration"] == 1.5
    assert abs(charge["startTime"] / 1000 - datetime.now(UTC).timestamp()) < 600
    assert charge["serviceTags"] == [{"key": "service.name", "value": "shop"}]
    assert {"key": "http.route", "value": "/charge"} in charge["tags"]
    assert {"key": "error", "value": True} in charge["tags"]
    fields = [{f["key"]: f["value"] for f in entry["fields"]} for entry in charge["logs"]]
    assert fields == [{"event": "retry", "n": 2}, {"level": "error", "message": "no money"}]


async def test_rates_and_calls(url: str) -> None:
    """A request is what came in; a call is a span below a span of another service."""
    red = {r["service"]: r for r in rows(url, "SELECT * FROM otel_service_red")}

    assert {s: (r["requests"], r["errors"], r["p95_ms"]) for s, r in red.items()} == {
        "shop": (1, 0, 5.0),
        "pay": (1, 1, 1.5),
    }
    edges = rows(url, "SELECT parent, child, calls, errors FROM otel_service_edges")
    assert edges == [{"parent": "shop", "child": "pay", "calls": 1, "errors": 1}]
    assert [r["service"] for r in rows(url, "SELECT service FROM otel_services")] == ["shop"]


def expanded(sql: str) -> str:
    """Return what Grafana makes of a query of the dashboards, over an hour around now."""
    since, until = (f"'{datetime.now(UTC) + timedelta(minutes=m):%Y-%m-%dT%H:%M:%SZ}'" for m in (-50, 10))
    sql = sql.replace("$__timeFilter(time)", f"time BETWEEN {since} AND {until}")
    sql = re.sub(r"\$__timeGroupAlias\(time,\$__interval\)", 'floor(extract(epoch from time)/30)*30 AS "time"', sql)
    for name, value in {
        "$__timeFrom()": since,
        "$__timeTo()": until,
        "$__interval": "30s",
        "${service:sqlstring}": "'shop','pay'",
        "${level:sqlstring}": "'error','unset'",
        "${search:sqlstring}": "''",
        "${at_least_ms}": "0",
        "${trace:sqlstring}": f"'{TRACE.hex()}'",
    }.items():
        sql = sql.replace(name, value)
    assert "$" not in sql
    return sql


QUERIES = [
    pytest.param(panel["type"], target, id=f"{path.stem}: {panel['title']} {target['refId']}")
    for path in sorted(DASHBOARDS.glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]
NEEDED = {
    "logs": {"timestamp", "body", "level"},
    "traces": {"traceID", "spanID", "parentSpanID", "operationName", "serviceName", "startTime", "duration"},
    "timeseries": {"time", "value"},
    "nodeGraph": {"id"},
    "table": set(),
}


@pytest.mark.parametrize(("kind", "target"), QUERIES)
async def test_every_query_of_the_dashboards_answers(url: str, kind: str, target: dict[str, Any]) -> None:
    """With macros and variables expanded: rows, and the columns that the panel wants."""
    found = rows(url, expanded(target["rawSql"]))

    assert found
    assert NEEDED[kind] <= set(found[0])
    for name in ("serviceTags", "tags", "logs"):  # text, which the dashboard's transformation reads, on any Grafana
        assert isinstance(found[0].get(name, "[]"), str)


@pytest.mark.parametrize("query", re.findall(r'"definition": "([^"]+)"', (DASHBOARDS / "logs.json").read_text()))
async def test_variables_are_found(url: str, query: str) -> None:
    """The list of services."""
    assert rows(url, query)


async def test_the_login_only_reads(url: str, database_url: str) -> None:
    """It cannot write, even if it turns off read-only, nor list tokens; its statements have a limit."""
    with psycopg.connect(url, autocommit=True) as connection:
        (limit,) = connection.execute("SHOW statement_timeout").fetchone() or ("",)
        assert limit == "30s"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM log_records")
        connection.execute("SET default_transaction_read_only = off")
        for statement in ("DELETE FROM log_records", "SELECT * FROM tokens"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    await roles.make_login(database_url, LOGIN, "n" * 20)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


async def test_a_role_that_may_more_is_left_alone(url: str, database_url: str) -> None:
    """A login is not made of the writer, nor of a superuser."""
    del url
    with psycopg.connect(database_url) as connection:
        (owner,) = connection.execute("SELECT current_user").fetchone() or ("",)

    for name in (owner, roles.WRITER):
        if name == roles.WRITER:
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute("CREATE ROLE otel_test_group")
                connection.execute(f"GRANT otel_test_group TO {name}".encode())
        with pytest.raises(PermanentStoreError, match="may more than read"):
            await roles.make_login(database_url, name, "x" * 20)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP ROLE otel_test_group")


async def test_a_window_reads_its_days_alone(engine: AsyncEngine, url: str) -> None:
    """otel_red prunes partitions by its arguments."""
    del engine
    plan = rows(url, "EXPLAIN SELECT * FROM otel_red('2020-01-01', '2020-01-02')")

    assert not [r for r in plan if "spans_p" in r["QUERY PLAN"]]
