"""The one list of columns: row types, tables and COPY are made from it, in this order.

Columns of fixed width that are never NULL come first, so that one ``struct.pack`` writes them all
(``storage.batch``) and PostgreSQL finds them at fixed offsets.
"""

from dataclasses import dataclass
from typing import Literal

PgType = Literal["timestamptz", "bigint", "integer", "boolean", "uuid", "double", "text", "jsonb", "bytea"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a telemetry table: its SQL type, whether it may be NULL, and what it holds."""

    name: str
    type: PgType
    comment: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class TelemetryTable:
    """A table partitioned by day on ``time``; its columns in COPY order, ``id`` excluded.

    ``id`` (bigint, from the table's own sequence) is added by the table definition alone: COPY does not send it.
    """

    name: str
    columns: tuple[Column, ...]


_TIME = Column(
    "time",
    "timestamptz",
    "Partition key: the record's own time, else the observed, else the received one; microseconds",
)
_RESOURCE = Column("resource_id", "uuid", "resources.id")
_SCOPE = Column("scope_id", "uuid", "scopes.id")
_FLAGS = Column("flags", "integer", "fixed32/uint32 as two's complement")
_DROPPED = Column("dropped_attributes_count", "integer", "uint32 as two's complement")
_COMPONENT = Column("component", "text", "service.name, with service.namespace/ before it where set")
_ATTRIBUTES = Column(
    "attributes",
    "jsonb",
    "Object; int without, double with a decimal point; bytes as base64; empty value as null",
)

LOG_RECORDS = TelemetryTable(
    "log_records",
    (
        _TIME,
        Column("time_unix_nano", "bigint", "As sent, uint64 as two's complement; 0: not given"),
        Column("observed_time_unix_nano", "bigint", "As sent, uint64 as two's complement; 0: not given"),
        _RESOURCE,
        _SCOPE,
        Column("severity_number", "integer", "1-24 by the specification, as sent"),
        _FLAGS,
        _DROPPED,
        Column(
            "body_kind",
            "integer",
            "0: no body, 1: string, 2: any other value, body holds it as JSON",
        ),
        _COMPONENT,
        Column("severity_text", "text", "As sent; empty: not given"),
        Column("event_name", "text", "As sent; empty: not given"),
        _ATTRIBUTES,
        Column("trace_id", "uuid", "NULL: not given", nullable=True),
        Column(
            "span_id",
            "bigint",
            "8 bytes, big endian, as two's complement; NULL: not given",
            nullable=True,
        ),
        Column(
            "body",
            "text",
            "The string, or the JSON of another value; U+FFFD where PostgreSQL cannot hold a character",
            nullable=True,
        ),
        Column(
            "exact",
            "bytea",
            "The LogRecord's own bytes, where the columns cannot hold all of it",
            nullable=True,
        ),
    ),
)

SPANS = TelemetryTable(
    "spans",
    (
        _TIME,
        Column("start_time_unix_nano", "bigint", "As sent, uint64 as two's complement"),
        Column("end_time_unix_nano", "bigint", "As sent, uint64 as two's complement; 0: not given"),
        Column("duration_ns", "bigint", "end - start; 0 where end is before start or not given"),
        _RESOURCE,
        _SCOPE,
        Column("kind", "integer", "Span.SpanKind, as sent"),
        _FLAGS,
        _DROPPED,
        Column("dropped_events_count", "integer", "uint32 as two's complement"),
        Column("dropped_links_count", "integer", "uint32 as two's complement"),
        _COMPONENT,
        Column("name", "text", "Span name"),
        Column("trace_state", "text", "W3C trace state; empty: not given"),
        Column("status_message", "text", "Status.message; empty: not given"),
        _ATTRIBUTES,
        Column("trace_id", "uuid", "NULL: not given", nullable=True),
        Column(
            "span_id",
            "bigint",
            "8 bytes, big endian, as two's complement; NULL: not given",
            nullable=True,
        ),
        Column("parent_span_id", "bigint", "NULL: a root span", nullable=True),
        Column(
            "status_code",
            "integer",
            "Status.code: 0 unset, 1 ok, 2 error; NULL: no Status was sent",
            nullable=True,
        ),
        Column(
            "events",
            "jsonb",
            "Array of {time_unix_nano, name, attributes, dropped_attributes_count}; NULL: none",
            nullable=True,
        ),
        Column(
            "links",
            "jsonb",
            "Array of {trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags}; NULL: none",
            nullable=True,
        ),
        Column(
            "exact",
            "bytea",
            "The Span's own bytes, where the columns cannot hold all of it",
            nullable=True,
        ),
    ),
)

METRIC_POINTS = TelemetryTable(
    "metric_points",
    (
        _TIME,
        Column("time_unix_nano", "bigint", "As sent, uint64 as two's complement; 0: not given"),
        Column("start_time_unix_nano", "bigint", "As sent, uint64 as two's complement; 0: not given"),
        _RESOURCE,
        _SCOPE,
        Column(
            "type",
            "integer",
            "Field number in Metric.data: 5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary",
        ),
        Column("aggregation_temporality", "integer", "0 unspecified, 1 delta, 2 cumulative"),
        _FLAGS,
        Column("is_monotonic", "boolean", "Sums only"),
        _COMPONENT,
        Column("name", "text", "Metric name"),
        Column("unit", "text", "UCUM unit; empty: not given"),
        Column("description", "text", "Empty: not given"),
        _ATTRIBUTES,
        Column("value_int", "bigint", "as_int of a gauge or sum point", nullable=True),
        Column("value_double", "double", "as_double of a gauge or sum point", nullable=True),
        Column(
            "data",
            "jsonb",
            "The rest of a histogram, exponential histogram or summary point, protobuf field names",
            nullable=True,
        ),
        Column("exemplars", "jsonb", "Array; NULL: none", nullable=True),
        Column("metadata", "jsonb", "Metric.metadata; NULL: none", nullable=True),
        Column(
            "exact",
            "bytea",
            "The Metric's own bytes with this point alone, where the columns cannot hold all of it",
            nullable=True,
        ),
    ),
)

TELEMETRY_TABLES = (LOG_RECORDS, SPANS, METRIC_POINTS)
