"""What flows in: one NamedTuple a table, fields in the order of ``storage.columns`` (pinned by a test).

Rows hold values as COPY BINARY wants them: ``time`` in microseconds since the Unix epoch, uint64 and uint32 already
as two's complement, trace ids as 16 bytes, span ids as signed integers, JSON as encoded UTF-8 bytes, text as str
without NUL.
"""

from typing import NamedTuple


class LogRow(NamedTuple):
    """One log record, ready for ``log_records``."""

    time: int
    time_unix_nano: int
    observed_time_unix_nano: int
    resource_id: bytes
    scope_id: bytes
    severity_number: int
    flags: int
    dropped_attributes_count: int
    body_kind: int
    component: str
    severity_text: str
    event_name: str
    attributes: bytes
    trace_id: bytes | None
    span_id: int | None
    body: str | None
    exact: bytes | None


class SpanRow(NamedTuple):
    """One span, ready for ``spans``."""

    time: int
    start_time_unix_nano: int
    end_time_unix_nano: int
    duration_ns: int
    resource_id: bytes
    scope_id: bytes
    kind: int
    flags: int
    dropped_attributes_count: int
    dropped_events_count: int
    dropped_links_count: int
    component: str
    name: str
    trace_state: str
    status_message: str
    attributes: bytes
    trace_id: bytes | None
    span_id: int | None
    parent_span_id: int | None
    status_code: int | None
    events: bytes | None
    links: bytes | None
    exact: bytes | None


class MetricPointRow(NamedTuple):
    """One data point of one metric, ready for ``metric_points``."""

    time: int
    time_unix_nano: int
    start_time_unix_nano: int
    resource_id: bytes
    scope_id: bytes
    type: int
    aggregation_temporality: int
    flags: int
    is_monotonic: bool
    component: str
    name: str
    unit: str
    description: str
    attributes: bytes
    value_int: int | None
    value_double: float | None
    data: bytes | None
    exemplars: bytes | None
    metadata: bytes | None
    exact: bytes | None


Row = LogRow | SpanRow | MetricPointRow


class ResourceRow(NamedTuple):
    """One interned resource; ``id`` is the first 16 bytes of a SHA-256 of its content and schema URL."""

    id: bytes
    component: str
    attributes: bytes
    dropped_attributes_count: int
    schema_url: str
    exact: bytes | None


class ScopeRow(NamedTuple):
    """One interned instrumentation scope; ``id`` as in ``ResourceRow``."""

    id: bytes
    name: str
    version: str
    attributes: bytes
    dropped_attributes_count: int
    schema_url: str
    exact: bytes | None
