"""The tables that count rows (``storage.rollups``); part of the metadata of ``storage.models``."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY

metadata = MetaData(naming_convention={"ix": "%(table_name)s_%(column_0_N_name)s_idx", "pk": "%(table_name)s_pkey"})
# Compared, ordered and indexed by bytes: faster than any language's rules, and the same on every system.
BYTEWISE = Text(collation="C")


@dataclass(frozen=True, slots=True)
class CountTables:
    """What counts the rows of a telemetry table (``storage.rollups``): by hour, and what was not added up yet."""

    counts: Table
    deltas: Table

    @property
    def code(self) -> Column[Any]:
        """Return the column that tells the kind: severity_number or status_code."""
        return self.deltas.c.severity_number if "severity_number" in self.deltas.c else self.deltas.c.status_code


def _count_tables(noun: str, code: str, *, timed: bool) -> CountTables:
    """Return the two tables; neither has a key, for a component may be longer than an index holds."""

    def kind() -> list[Column[Any]]:
        return [Column("component", BYTEWISE, nullable=False), Column(code, Integer, nullable=False)]

    durations = (
        Column("duration_ns", Numeric, nullable=False, comment="Sum of durations"),
        Column("durations", LargeBinary, nullable=False, comment="60 sums of 12 bytes, big endian, ns"),
    )
    counts = Table(
        f"{noun}_counts",
        metadata,
        Column("hour", DateTime(timezone=True), nullable=False),
        *kind(),
        Column("total", BigInteger, nullable=False, comment="Sum of minutes"),
        Column("minutes", LargeBinary, nullable=False, comment="60 counts of 4 bytes, big endian"),
        *(durations if timed else ()),
        Index(f"{noun}_counts_hour_idx", "hour"),
    )
    deltas = Table(
        f"{noun}_count_deltas",
        metadata,
        Column("minute", DateTime(timezone=True), nullable=False),
        *kind(),
        Column("count", BigInteger, nullable=False, comment="Rows stored, or with a minus deleted"),
        *([Column("duration_ns", Numeric, nullable=False, comment="Sum of the spans' durations")] if timed else ()),
    )
    return CountTables(counts, deltas)


LOG_COUNTS = _count_tables("log", "severity_number", timed=False)
SPAN_COUNTS = _count_tables("span", "status_code", timed=True)


def _component() -> Column[Any]:
    return Column("component", BYTEWISE, nullable=False)


span_detail_deltas = Table(
    "span_detail_deltas",
    metadata,
    Column("minute", DateTime(timezone=True), nullable=False),
    _component(),
    Column("name", Text, comment="Its first 200 characters; NULL: one of too many"),
    Column("kind", Integer, nullable=False),
    Column("failed", Boolean, nullable=False, comment="Status code 2"),
    Column("count", BigInteger, nullable=False, comment="Spans stored, or with a minus deleted"),
    Column("cells", ARRAY(BigInteger), comment="bucket * 2^32 + requests served (storage.latency)"),
)
span_names = Table(
    "span_names",
    metadata,
    Column("hour", DateTime(timezone=True), nullable=False),
    _component(),
    Column("name", Text, comment="Its first 200 characters; NULL: one of too many"),
    Column("kind", Integer, nullable=False),
    Column("count", BigInteger, nullable=False),
    Index("span_names_hour_idx", "hour"),
    Index("span_names_component_idx", "component", postgresql_using="hash"),
)
span_times = Table(
    "span_times",
    metadata,
    Column("hour", DateTime(timezone=True), nullable=False),
    _component(),
    Column("failed", Boolean, nullable=False, comment="Status code 2"),
    Column("cells", ARRAY(BigInteger), nullable=False, comment="(1024 * minute + bucket) * 2^32 + requests served"),
    Column("hour_cells", ARRAY(BigInteger), nullable=False, comment="bucket * 2^32 + requests served"),
    Index("span_times_hour_idx", "hour"),
)
span_calls = Table(
    "span_calls",
    metadata,
    Column("slot", DateTime(timezone=True), nullable=False, comment="Five minutes in which the spans called began"),
    Column("parent", BYTEWISE, comment="NULL: the slot was counted"),
    Column("child", BYTEWISE),
    Column("calls", BigInteger, nullable=False),
    Index("span_calls_slot_idx", "slot"),
)
