"""The tables, made from ``storage.columns``; Alembic compares the database with this metadata."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from storage.columns import LOG_RECORDS, METRIC_POINTS, SPANS, TelemetryTable
from storage.count_models import BYTEWISE, metadata
from storage.periods import Period

# The key of Table.info under which a table says that it is partitioned by time.
TIME_PARTITIONED = "time_partitioned"


_TYPES: dict[str, TypeEngine[Any]] = {
    "timestamptz": DateTime(timezone=True),
    "bigint": BigInteger(),
    "integer": Integer(),
    "boolean": Boolean(),
    "uuid": Uuid(),
    "double": Double(),
    "text": Text(),
    "jsonb": JSONB(),
    "bytea": LargeBinary(),
}
# SEVERITY_NUMBER_ERROR.
_ERROR_NUMBER = 17


def time_partitioned(by: str, period: Period) -> dict[str, Any]:
    """Return the ``info`` of a table that is partitioned by time: migrations are compared with it."""
    return {TIME_PARTITIONED: (by, period)}


def _telemetry_table(spec: TelemetryTable) -> Table:
    """Return the partitioned table of ``spec``; ``id`` comes from its sequence, in the order of storing."""
    sequence = Sequence(f"{spec.name}_id_seq", metadata=metadata, data_type=BigInteger)
    columns = [
        Column(
            c.name,
            BYTEWISE if c.name == "component" else _TYPES[c.type],
            nullable=c.nullable,
            primary_key=c.name == "time",
            comment=c.comment,
        )
        for c in spec.columns
    ]
    identifier = Column(
        "id",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        server_default=sequence.next_value(),
        comment="Unique in this table; roughly in the order of storing",
    )
    table = Table(
        spec.name,
        metadata,
        columns[0],
        identifier,
        *columns[1:],
        postgresql_partition_by="RANGE (time)",
        info=time_partitioned("time", "day"),
    )
    Index(f"{spec.name}_component_time_idx", table.c.component, table.c.time)
    if spec is LOG_RECORDS:  # ids rise as rows do: a tail, or one record by its id, reads few blocks
        Index(f"{spec.name}_id_idx", table.c.id, postgresql_using="brin", postgresql_with={"autosummarize": True})
    if "trace_id" in table.c:
        Index(
            f"{spec.name}_trace_id_idx",
            table.c.trace_id,
            postgresql_where=table.c.trace_id.isnot(None),
        )
    if "severity_number" in table.c:
        # Errors are few: it costs next to nothing, and spares a walk over all that is none.
        Index(
            f"{spec.name}_errors_idx",
            table.c.component,
            table.c.time,
            postgresql_where=table.c.severity_number >= _ERROR_NUMBER,
        )
    return table


log_records = _telemetry_table(LOG_RECORDS)
spans = _telemetry_table(SPANS)
metric_points = _telemetry_table(METRIC_POINTS)
TABLES = {t.name: t for t in (log_records, spans, metric_points)}

time_partitions = Table(
    "time_partitions",
    metadata,
    Column("table_name", Text, primary_key=True),
    Column("partition_column", Text, nullable=False),
    Column("default_period", Text, nullable=False, comment="hour, day or week: what its migration says"),
    Column("period", Text, comment="What new partitions last, where that was changed; NULL: default_period"),
)

retention_rules = Table(
    "retention_rules",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("signal", Text, nullable=False, comment="logs, spans or metrics"),
    Column("component", BYTEWISE, comment="NULL: any"),
    Column("severity_min", Integer, comment="Of severity_number, included; NULL: any"),
    Column("severity_max", Integer, comment="Of severity_number, included; NULL: any"),
    Column("keep_s", BigInteger, comment="Seconds; NULL: for ever"),
    Column("reason", Text, nullable=False),
    Column("set_by", Text, nullable=False, comment="Name of the token"),
    Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


def _interned_table(name: str, noun: str, *own: SchemaItem) -> Table:
    """Return a table of what records share: one row for each content, ``own`` columns after the id."""
    return Table(
        name,
        metadata,
        Column("id", Uuid, primary_key=True, comment="First 16 bytes of SHA-256 of the content"),
        *own,
        Column("attributes", JSONB, nullable=False),
        Column("dropped_attributes_count", Integer, nullable=False),
        Column("schema_url", Text, nullable=False),
        Column("exact", LargeBinary, comment=f"The {noun}'s own bytes, where the columns cannot hold all of it"),
        Column("first_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


resources = _interned_table(
    "resources",
    "Resource",
    Column("component", BYTEWISE, nullable=False),
    Index("resources_component_idx", "component"),
)
scopes = _interned_table(
    "scopes", "scope", Column("name", Text, nullable=False), Column("version", Text, nullable=False)
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column(
        "token_hash",
        LargeBinary,
        nullable=False,
        unique=True,
        comment="SHA-256; the token itself is not stored",
    ),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
)

level_overrides = Table(
    "level_overrides",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("component", BYTEWISE, nullable=False),
    Column("logger", Text, nullable=False, comment="A logger and all below it; * is every logger"),
    Column("level", Text, nullable=False, comment="TRACE, DEBUG, INFO, WARN, ERROR or FATAL"),
    Column("reason", Text, nullable=False),
    Column("set_by", Text, nullable=False, comment="Name of the token"),
    Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True), comment="NULL: not ended before expires_at"),
    Index("level_overrides_expires_at_idx", "expires_at"),
)

agents = Table(
    "agents",
    metadata,
    Column("instance_uid", Uuid, primary_key=True, comment="OpAMP instance_uid; one a process"),
    Column("component", BYTEWISE, nullable=False),
    Column("description", JSONB, nullable=False, comment="Attributes of its AgentDescription"),
    Column("first_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True), comment="When it said that it ends"),
    Column("config_hash", LargeBinary, comment="last_remote_config_hash it reported"),
    Column("config_status", Integer, nullable=False, comment="RemoteConfigStatuses: 1 applied, 2 applying, 3 failed"),
    Column("config_error", Text, nullable=False),
    Column("effective", JSONB, comment="Its effective_config of log_levels"),
    Index("agents_component_idx", "component"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("caller", Text, nullable=False, comment="Name of the token"),
    Column("role", Text, nullable=False),
    Column("action", Text, nullable=False, comment="The tool"),
    Column("arguments", JSONB, nullable=False),
    Column("outcome", Text, nullable=False, comment="done, or refused: and why"),
)


clear_previews = Table(
    "clear_previews",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("confirm_hash", LargeBinary, nullable=False, unique=True, comment="SHA-256 of the confirmation"),
    Column("caller", Text, nullable=False, comment="Who asked; nobody else may confirm"),
    Column("asked", JSONB, nullable=False, comment="The question as it was asked"),
    Column("query", JSONB, nullable=False, comment="The question as it was understood, times in ns"),
    Column("watermark", BigInteger, nullable=False, comment="Rows of transactions before this one were counted"),
    Column("counts", JSONB, nullable=False, comment="Rows by signal"),
    Column("made_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
)


def _digest_table(name: str, *columns: Column[Any]) -> Table:
    """Return one table of a ring of ``storage.digests``."""
    return Table(
        name,
        metadata,
        Column("digest", Uuid, primary_key=True),
        *columns,
        Column("time", DateTime(timezone=True), nullable=False, comment="When the request was stored"),
        Column("rejected", Integer, nullable=False, comment="Records of it that PostgreSQL refused"),
    )


request_digests = [_digest_table(f"request_digests_{n}") for n in range(3)]
batch_id_digests = [
    _digest_table(f"batch_id_digests_{n}", Column("content", Uuid, nullable=False, comment="Digest of the request"))
    for n in range(3)
]

spooled_requests = Table(
    "spooled_requests",
    metadata,
    Column("segment", Uuid, primary_key=True, comment="The spool's segment"),
    Column("position", BigInteger, primary_key=True, autoincrement=False, comment="Where the request is in it"),
    Column("time", DateTime(timezone=True), nullable=False, comment="When the request was stored"),
)

rejected_records = Table(
    "rejected_records",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("signal", Text, nullable=False, comment="logs, traces or metrics"),
    Column("component", BYTEWISE, nullable=False, comment="As in the telemetry tables; empty: not known"),
    Column("position", BigInteger, nullable=False, comment="Of the record in its request, from 0"),
    Column("reason", Text, nullable=False),
    Column("media_type", Text, nullable=False, comment="How record is encoded"),
    Column("record_bytes", BigInteger, nullable=False, comment="Length as sent; record may be cut"),
    Column("digest", LargeBinary, comment="Key of the request"),
    Column("record", LargeBinary, nullable=False, comment="The record as sent; of a data point its metric"),
    Index("rejected_records_received_at_idx", "received_at"),
)

packed_blocks = Table(
    "packed_blocks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Never used again: blocks do not change"),
    Column("table_name", Text, nullable=False, comment="The telemetry table its records are of"),
    Column("component", BYTEWISE, nullable=False, comment="Of all its records"),
    Column("first_time", DateTime(timezone=True), nullable=False),
    Column("last_time", DateTime(timezone=True), nullable=False, comment="Of the same partition as first_time"),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("highest", Integer, comment="Highest severity_number or status_code of its records"),
    Column("trace_hashes", ARRAY(Integer), nullable=False, comment="storage.packing.needs.trace_hash of each trace id"),
    Column("packed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("data", LargeBinary, nullable=False, comment="Its columns (storage.packing.block); not compressed again"),
    Index("packed_blocks_time_idx", "table_name", "last_time"),
    Index("packed_blocks_component_time_idx", "table_name", "component", "last_time"),
    Index("packed_blocks_id_idx", "table_name", "last_id"),
    Index("packed_blocks_trace_hashes_idx", "trace_hashes", postgresql_using="gin"),
)
cold_files = Table(
    "cold_files",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("table_name", Text, nullable=False, comment="The telemetry table its records are of"),
    Column("path", Text, nullable=False, unique=True, comment="Below the cold location"),
    Column("state", Text, nullable=False, comment="writing, live or gone; only a live one has chunks"),
    Column("since", DateTime(timezone=True), nullable=False, comment="Of its partition"),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("records", BigInteger, nullable=False, comment="As it was written"),
    Column("bytes", BigInteger, nullable=False),
    Column("digest", LargeBinary, comment="SHA-256 of its columns (storage.cold.digest)"),
    Column("trace_filter", LargeBinary, comment="storage.cold.traces: which trace ids may be in it"),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
cold_chunks = Table(
    "cold_chunks",
    metadata,
    Column("file_id", BigInteger, primary_key=True, autoincrement=False, comment="cold_files.id"),
    Column("first_row", BigInteger, primary_key=True, autoincrement=False, comment="Its first row in the file"),
    Column("table_name", Text, nullable=False),
    Column("component", BYTEWISE, nullable=False, comment="Of all its records"),
    Column("first_time", DateTime(timezone=True), nullable=False),
    Column("last_time", DateTime(timezone=True), nullable=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("highest", Integer, comment="Highest severity_number or status_code of its records"),
    Index("cold_chunks_time_idx", "table_name", "last_time"),
    Index("cold_chunks_component_time_idx", "table_name", "component", "last_time"),
    Index("cold_chunks_id_idx", "table_name", "last_id"),
)
