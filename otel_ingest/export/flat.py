"""PURE: rows -> one flat record each, for people, spreadsheets and data frames.

Names are those of the log data model, times RFC 3339 with nanoseconds in UTC, ids lower-case hex, attributes objects.
Unlike OTLP, this form does not hold every edge case: what no column holds is shown as well as JSON can.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from storage.pages import ExportPage
from storage.rows import LogRow, MetricPointRow, Row, SpanRow

_NS = 1_000_000_000
_U64 = 0xFFFFFFFFFFFFFFFF
_JSON_BODY = 2
_METRIC_TYPES = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponential_histogram", 11: "summary"}


def records(page: ExportPage) -> Iterator[dict[str, Any]]:
    """Yield the rows of a page as flat records; keys of one signal are always the same."""
    around: dict[tuple[bytes, bytes], dict[str, Any]] = {}
    for row in page.rows:
        place = row.resource_id, row.scope_id
        if place not in around:
            scope = page.scopes[row.scope_id]
            resource = orjson.loads(page.resources[row.resource_id].attributes)
            around[place] = {"resource": resource, "scope_name": scope.name, "scope_version": scope.version}
        yield _record(row) | around[place]


def _record(row: Row) -> dict[str, Any]:
    if isinstance(row, LogRow):
        return _log(row)
    return _span(row) if isinstance(row, SpanRow) else _point(row)


def _log(row: LogRow) -> dict[str, Any]:
    body = orjson.loads(row.body or "null") if row.body_kind == _JSON_BODY else row.body
    return {
        "signal": "log",
        "time": _time(row.time_unix_nano or row.observed_time_unix_nano, row.time),
        "component": row.component,
        "severity_number": row.severity_number,
        "severity_text": row.severity_text,
        "body": body,
        "event_name": row.event_name,
        "trace_id": _hex(row.trace_id),
        "span_id": _span_hex(row.span_id),
        "attributes": orjson.loads(row.attributes),
    }


def _span(row: SpanRow) -> dict[str, Any]:
    return {
        "signal": "span",
        "time": _time(row.start_time_unix_nano, row.time),
        "duration_ns": row.duration_ns,
        "component": row.component,
        "name": row.name,
        "kind": row.kind,
        "status_code": row.status_code or 0,
        "status_message": row.status_message,
        "trace_id": _hex(row.trace_id),
        "span_id": _span_hex(row.span_id),
        "parent_span_id": _span_hex(row.parent_span_id),
        "attributes": orjson.loads(row.attributes),
        "events": orjson.loads(row.events or b"[]"),
        "links": orjson.loads(row.links or b"[]"),
    }


def _point(row: MetricPointRow) -> dict[str, Any]:
    return {
        "signal": "metric",
        "time": _time(row.time_unix_nano or row.start_time_unix_nano, row.time),
        "component": row.component,
        "name": row.name,
        "unit": row.unit,
        "type": _METRIC_TYPES[row.type],
        "value": row.value_int if row.value_int is not None else row.value_double,
        "data": orjson.loads(row.data) if row.data else None,
        "attributes": orjson.loads(row.attributes),
    }


def _time(time_ns: int, time_us: int) -> str:
    ns = time_ns & _U64 or time_us * 1000
    return f"{datetime.fromtimestamp(ns // _NS, UTC):%Y-%m-%dT%H:%M:%S}.{ns % _NS:09d}Z"


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value else None


def _span_hex(value: int | None) -> str | None:
    return None if value is None else f"{value & _U64:016x}"
