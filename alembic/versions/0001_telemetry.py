"""Logs, spans and metric points in day partitions; interned resources and scopes; tokens."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BYTEWISE = sa.Text(collation="C")
TIMESTAMP = sa.DateTime(timezone=True)


def required(name: str, kind: sa.types.TypeEngine, comment: str | None = None) -> sa.Column:
    return sa.Column(name, kind, nullable=False, comment=comment)


def optional(name: str, kind: sa.types.TypeEngine, comment: str | None = None) -> sa.Column:
    return sa.Column(name, kind, nullable=True, comment=comment)


def log_record_columns() -> list[sa.Column]:
    return [
        required(
            "time",
            TIMESTAMP,
            "Partition key: the record's own time, else the observed, else the received one; microseconds",
        ),
        required("time_unix_nano", sa.BigInteger(), "As sent, uint64 as two's complement; 0: not given"),
        required(
            "observed_time_unix_nano",
            sa.BigInteger(),
            "As sent, uint64 as two's complement; 0: not given",
        ),
        required("resource_id", sa.Uuid(), "resources.id"),
        required("scope_id", sa.Uuid(), "scopes.id"),
        required("severity_number", sa.Integer(), "1-24 by the specification, as sent"),
        required("flags", sa.Integer(), "fixed32/uint32 as two's complement"),
        required("dropped_attributes_count", sa.Integer(), "uint32 as two's complement"),
        required(
            "body_kind",
            sa.Integer(),
            "0: no body, 1: string, 2: any other value, body holds it as JSON",
        ),
        required("component", BYTEWISE, "service.name, with service.namespace/ before it where set"),
        required("severity_text", sa.Text(), "As sent; empty: not given"),
        required("event_name", sa.Text(), "As sent; empty: not given"),
        required(
            "attributes",
            JSONB(),
            "Object; int without, double with a decimal point; bytes as base64; empty value as null",
        ),
        optional("trace_id", sa.Uuid(), "NULL: not given"),
        optional("span_id", sa.BigInteger(), "8 bytes, big endian, as two's complement; NULL: not given"),
        optional(
            "body",
            sa.Text(),
            "The string, or the JSON of another value; U+FFFD where PostgreSQL cannot hold a character",
        ),
        optional(
            "exact",
            sa.LargeBinary(),
            "The LogRecord's own bytes, where the columns cannot hold all of it",
        ),
    ]


def span_columns() -> list[sa.Column]:
    return [
        required(
            "time",
            TIMESTAMP,
            "Partition key: the record's own time, else the observed, else the received one; microseconds",
        ),
        required("start_time_unix_nano", sa.BigInteger(), "As sent, uint64 as two's complement"),
        required(
            "end_time_unix_nano",
            sa.BigInteger(),
            "As sent, uint64 as two's complement; 0: not given",
        ),
        required("duration_ns", sa.BigInteger(), "end - start; 0 where end is before start or not given"),
        required("resource_id", sa.Uuid(), "resources.id"),
        required("scope_id", sa.Uuid(), "scopes.id"),
        required("kind", sa.Integer(), "Span.SpanKind, as sent"),
        required("flags", sa.Integer(), "fixed32/uint32 as two's complement"),
        required("dropped_attributes_count", sa.Integer(), "uint32 as two's complement"),
        required("dropped_events_count", sa.Integer(), "uint32 as two's complement"),
        required("dropped_links_count", sa.Integer(), "uint32 as two's complement"),
        required("component", BYTEWISE, "service.name, with service.namespace/ before it where set"),
        required("name", sa.Text(), "Span name"),
        required("trace_state", sa.Text(), "W3C trace state; empty: not given"),
        required("status_message", sa.Text(), "Status.message; empty: not given"),
        required(
            "attributes",
            JSONB(),
            "Object; int without, double with a decimal point; bytes as base64; empty value as null",
        ),
        optional("trace_id", sa.Uuid(), "NULL: not given"),
        optional("span_id", sa.BigInteger(), "8 bytes, big endian, as two's complement; NULL: not given"),
        optional("parent_span_id", sa.BigInteger(), "NULL: a root span"),
        optional(
            "status_code",
            sa.Integer(),
            "Status.code: 0 unset, 1 ok, 2 error; NULL: no Status was sent",
        ),
        optional(
            "events",
            JSONB(),
            "Array of {time_unix_nano, name, attributes, dropped_attributes_count}; NULL: none",
        ),
        optional(
            "links",
            JSONB(),
            "Array of {trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags}; NULL: none",
        ),
        optional(
            "exact",
            sa.LargeBinary(),
            "The Span's own bytes, where the columns cannot hold all of it",
        ),
    ]


def metric_point_columns() -> list[sa.Column]:
    return [
        required(
            "time",
            TIMESTAMP,
            "Partition key: the record's own time, else the observed, else the received one; microseconds",
        ),
        required("time_unix_nano", sa.BigInteger(), "As sent, uint64 as two's complement; 0: not given"),
        required(
            "start_time_unix_nano",
            sa.BigInteger(),
            "As sent, uint64 as two's complement; 0: not given",
        ),
        required("resource_id", sa.Uuid(), "resources.id"),
        required("scope_id", sa.Uuid(), "scopes.id"),
        required(
            "type",
            sa.Integer(),
            "Field number in Metric.data: 5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary",
        ),
        required("aggregation_temporality", sa.Integer(), "0 unspecified, 1 delta, 2 cumulative"),
        required("flags", sa.Integer(), "fixed32/uint32 as two's complement"),
        required("is_monotonic", sa.Boolean(), "Sums only"),
        required("component", BYTEWISE, "service.name, with service.namespace/ before it where set"),
        required("name", sa.Text(), "Metric name"),
        required("unit", sa.Text(), "UCUM unit; empty: not given"),
        required("description", sa.Text(), "Empty: not given"),
        required(
            "attributes",
            JSONB(),
            "Object; int without, double with a decimal point; bytes as base64; empty value as null",
        ),
        optional("value_int", sa.BigInteger(), "as_int of a gauge or sum point"),
        optional("value_double", sa.Double(), "as_double of a gauge or sum point"),
        optional(
            "data",
            JSONB(),
            "The rest of a histogram, exponential histogram or summary point, protobuf field names",
        ),
        optional("exemplars", JSONB(), "Array; NULL: none"),
        optional("metadata", JSONB(), "Metric.metadata; NULL: none"),
        optional(
            "exact",
            sa.LargeBinary(),
            "The Metric's own bytes with this point alone, where the columns cannot hold all of it",
        ),
    ]


def telemetry_table(name: str, columns: list[sa.Column]) -> None:
    """Make a table partitioned by day on ``time``, with ``id`` from a sequence of its own."""
    op.execute(sa.schema.CreateSequence(sa.Sequence(f"{name}_id_seq", data_type=sa.BigInteger)))
    identifier = sa.Column(
        "id",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text(f"nextval('{name}_id_seq')"),
        comment="Unique in this table; roughly in the order of storing",
    )
    op.create_table(
        name,
        columns[0],
        identifier,
        *columns[1:],
        sa.PrimaryKeyConstraint("time", "id", name=f"{name}_pkey"),
        postgresql_partition_by="RANGE (time)",
    )
    op.create_index(f"{name}_component_time_idx", name, ["component", "time"])


def upgrade() -> None:
    telemetry_table("log_records", log_record_columns())
    telemetry_table("spans", span_columns())
    telemetry_table("metric_points", metric_point_columns())
    for name in ("log_records", "spans"):
        op.create_index(
            f"{name}_trace_id_idx",
            name,
            ["trace_id"],
            postgresql_where=sa.text("trace_id IS NOT NULL"),
        )
    op.create_table(
        "resources",
        sa.Column("id", sa.Uuid, primary_key=True, comment="First 16 bytes of SHA-256 of the content"),
        required("component", BYTEWISE),
        required("attributes", JSONB()),
        required("dropped_attributes_count", sa.Integer()),
        required("schema_url", sa.Text()),
        optional(
            "exact",
            sa.LargeBinary(),
            "The Resource's own bytes, where the columns cannot hold all of it",
        ),
        sa.Column("first_seen", TIMESTAMP, nullable=False, server_default=sa.func.now()),
    )
    op.create_index("resources_component_idx", "resources", ["component"])
    op.create_table(
        "scopes",
        sa.Column("id", sa.Uuid, primary_key=True, comment="First 16 bytes of SHA-256 of the content"),
        required("name", sa.Text()),
        required("version", sa.Text()),
        required("attributes", JSONB()),
        required("dropped_attributes_count", sa.Integer()),
        required("schema_url", sa.Text()),
        optional(
            "exact",
            sa.LargeBinary(),
            "The scope's own bytes, where the columns cannot hold all of it",
        ),
        sa.Column("first_seen", TIMESTAMP, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        required("name", sa.Text()),
        required("role", sa.Text()),
        sa.Column(
            "token_hash",
            sa.LargeBinary,
            nullable=False,
            unique=True,
            comment="SHA-256; the token itself is not stored",
        ),
        sa.Column("created_at", TIMESTAMP, nullable=False, server_default=sa.func.now()),
        optional("expires_at", TIMESTAMP),
        optional("revoked_at", TIMESTAMP),
        optional("last_used_at", TIMESTAMP),
    )


def downgrade() -> None:
    for name in ("tokens", "scopes", "resources"):
        op.drop_table(name)
    for name in ("metric_points", "spans", "log_records"):
        op.drop_table(name)
        op.execute(sa.schema.DropSequence(sa.Sequence(f"{name}_id_seq")))
