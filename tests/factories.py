"""Rows, batches and OTLP requests for tests: sensible defaults, any field by keyword."""

import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from storage.batch import Batch
from storage.columns import LOG_RECORDS, TelemetryTable
from storage.encoding import row_encoder
from storage.rows import LogRow, MetricPointRow, ResourceRow, Row, ScopeRow, SpanRow

RESOURCE = ResourceRow(b"r" * 16, "shop", b'{"service.name":"shop"}', 0, "", None)
SCOPE = ScopeRow(b"s" * 16, "tests", "1", b"{}", 0, "", None)


def now_us() -> int:
    """Return the time now in microseconds since 1970."""
    return time.time_ns() // 1000


def log_row(**fields: Any) -> LogRow:
    """Return a log row of component shop, now, INFO."""
    at = fields.pop("time", now_us())
    row = LogRow(
        at,
        at * 1000,
        0,
        RESOURCE.id,
        SCOPE.id,
        9,
        0,
        0,
        1,
        "shop",
        "INFO",
        "",
        b"{}",
        b"t" * 16,
        1,
        "hello",
        None,
    )
    return row._replace(**fields)


def span_row(**fields: Any) -> SpanRow:
    """Return a server span of component shop, now, 5 ms."""
    at = fields.pop("time", now_us())
    row = SpanRow(
        time=at,
        start_time_unix_nano=at * 1000,
        end_time_unix_nano=at * 1000 + 5_000_000,
        duration_ns=5_000_000,
        resource_id=RESOURCE.id,
        scope_id=SCOPE.id,
        kind=2,
        flags=0,
        dropped_attributes_count=0,
        dropped_events_count=0,
        dropped_links_count=0,
        component="shop",
        name="GET /",
        trace_state="",
        status_message="",
        attributes=b"{}",
        trace_id=b"t" * 16,
        span_id=1,
        parent_span_id=None,
        status_code=None,
        events=None,
        links=None,
        exact=None,
    )
    return row._replace(**fields)


def metric_point_row(**fields: Any) -> MetricPointRow:
    """Return a gauge point of component shop, now."""
    at = fields.pop("time", now_us())
    row = MetricPointRow(
        time=at,
        time_unix_nano=at * 1000,
        start_time_unix_nano=0,
        resource_id=RESOURCE.id,
        scope_id=SCOPE.id,
        type=5,
        aggregation_temporality=0,
        flags=0,
        is_monotonic=False,
        component="shop",
        name="queue.length",
        unit="1",
        description="",
        attributes=b"{}",
        value_int=1,
        value_double=None,
        data=None,
        exemplars=None,
        metadata=None,
        exact=None,
    )
    return row._replace(**fields)


def batch_of(rows: Sequence[Row], table: TelemetryTable = LOG_RECORDS) -> Batch:
    """Return the encoded batch of ``rows``, with the resource and scope they name."""
    batch = Batch(table, resources={RESOURCE.id: RESOURCE}, scopes={SCOPE.id: SCOPE})
    encode = row_encoder(table)
    for row in rows:
        batch.add(row, encode(row))
    return batch


def attributes(**values: str | float | bool) -> list[KeyValue]:
    """Return OTLP attributes; a double underscore in a name stands for a dot."""
    return [KeyValue(key=k.replace("__", "."), value=_value(v)) for k, v in values.items()]


def _value(value: str | float | bool) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=value)


def log_record(**fields: Any) -> LogRecord:
    """Return a log record, now, INFO."""
    defaults = {
        "time_unix_nano": time.time_ns(),
        "severity_number": 9,
        "severity_text": "INFO",
        "body": AnyValue(string_value="hello"),
        "trace_id": b"\x01" * 16,
        "span_id": b"\x02" * 8,
    }
    return LogRecord(**(defaults | fields))


def span(**fields: Any) -> Span:
    """Return a server span of 5 ms, now."""
    start = time.time_ns()
    defaults = {
        "trace_id": b"\x01" * 16,
        "span_id": b"\x02" * 8,
        "name": "GET /",
        "kind": 2,
        "start_time_unix_nano": start,
        "end_time_unix_nano": start + 5_000_000,
        "status": {"code": 0},
    }
    return Span(**(defaults | fields))


def logs_request(records: Sequence[LogRecord], service: str = "shop") -> ExportLogsServiceRequest:
    """Return a request with ``records`` under one resource and scope."""
    resource = {"attributes": attributes(service__name=service)}
    scope_logs = [{"scope": {"name": "tests"}, "log_records": list(records)}]
    return ExportLogsServiceRequest(resource_logs=[{"resource": resource, "scope_logs": scope_logs}])


def traces_request(spans: Sequence[Span], service: str = "shop") -> ExportTraceServiceRequest:
    """Return a request with ``spans`` under one resource and scope."""
    resource = {"attributes": attributes(service__name=service)}
    scope_spans = [{"scope": {"name": "tests"}, "spans": list(spans)}]
    return ExportTraceServiceRequest(resource_spans=[{"resource": resource, "scope_spans": scope_spans}])
