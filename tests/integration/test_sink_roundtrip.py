"""Any row goes through COPY and comes back equal: every table, every column."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from storage.api import Outcome
from storage.columns import TELEMETRY_TABLES, Column, TelemetryTable
from storage.config import StorageConfig
from storage.engine import write_engine
from storage.models import TABLES
from storage.rows import LogRow, MetricPointRow, Row, SpanRow
from storage.sink import PostgresSink
from tests.factories import RESOURCE, SCOPE, batch_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A week, with the edges of its days: each day is a partition to make.
TIMES = st.integers(0, 7 * 86_400_000_000) | st.sampled_from([0, 86_400_000_000 - 1, 86_400_000_000])
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT
OBJECTS = st.dictionaries(TEXT, VALUES | st.lists(VALUES, max_size=3), max_size=4)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "timestamptz": TIMES,
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "uuid": st.binary(min_size=16, max_size=16),
    "double": st.floats(allow_nan=False),
    "text": TEXT,
    "jsonb": OBJECTS.map(lambda value: json.dumps(value, ensure_ascii=False).encode()),
    "bytea": st.binary(),
}
KINDS: dict[str, type[Row]] = {"log_records": LogRow, "spans": SpanRow, "metric_points": MetricPointRow}


def values_of(column: Column) -> st.SearchStrategy[Any]:
    """Return what a column may hold."""
    if column.name in {"resource_id", "scope_id"}:
        return st.just(RESOURCE.id if column.name == "resource_id" else SCOPE.id)
    values = BY_TYPE[column.type]
    return st.none() | values if column.nullable else values


def rows_of(table: TelemetryTable) -> st.SearchStrategy[list[Row]]:
    """Return lists of rows of one table."""
    fields = st.tuples(*(values_of(column) for column in table.columns))
    return st.lists(fields.map(lambda values: KINDS[table.name](*values)), min_size=1, max_size=5)


def comparable(column: Column, value: Any) -> Any:
    """Return a row's value as the database gives it back."""
    if value is None:
        return None
    if column.type == "timestamptz":
        return EPOCH + timedelta(microseconds=value)
    if column.type == "uuid":
        return uuid.UUID(bytes=value)
    return json.loads(value) if column.type == "jsonb" else value


async def store_and_read(url: str, table: TelemetryTable, rows: list[Row]) -> list[tuple[Any, ...]]:
    """Write ``rows`` to an empty table; return what it holds then, in the order of storing."""
    engine = write_engine(StorageConfig(url))
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"TRUNCATE {table.name}"))
        assert await PostgresSink(engine).write([batch_of(rows, table)]) == [Outcome()]
        stored = TABLES[table.name]
        query = select(*(stored.c[column.name] for column in table.columns)).order_by(stored.c.id)
        async with engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(query)]
    finally:
        await engine.dispose()


@pytest.mark.parametrize("table", TELEMETRY_TABLES, ids=lambda table: table.name)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_come_back_equal(database_url: str, table: TelemetryTable, data: st.DataObject) -> None:
    """Any text, any number, any bytes, any NULL."""
    rows = data.draw(rows_of(table))

    found = asyncio.run(store_and_read(database_url, table, rows))

    expected = [tuple(comparable(c, v) for c, v in zip(table.columns, row, strict=True)) for row in rows]
    assert found == expected
