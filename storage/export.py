"""All that is stored, row by row, as it came in: the read side's counterpart of ``rows``.

Pages by (time, id), each in a transaction of its own: an export of weeks must not hold back the dropping of a
partition, nor the memory of more than one page.
"""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, Text, cast, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.columns import LOG_RECORDS, METRIC_POINTS, SPANS, TelemetryTable
from storage.dberrors import translate
from storage.filters import timestamp
from storage.mapping import ns_of
from storage.models import TABLES, resources, scopes
from storage.packing.connection import PackedConnection, reading_connection
from storage.pages import ExportPage, ExportQuery
from storage.rows import LogRow, MetricPointRow, ResourceRow, Row, ScopeRow, SpanRow

# One page is one message of an export: as many records as the batch of an SDK, and well below any receiver's limit.
PAGE_ROWS_MAX = 512
PAGE_BYTES_MAX = 4 * 1024 * 1024
# Rows fetched at a time; one may have 8 MiB.
_FETCH_ROWS = 32
Place = tuple[datetime, int]
"""Where a row is in an export: its time and id."""
_ROW_TYPES: dict[str, Any] = {LOG_RECORDS.name: LogRow, SPANS.name: SpanRow, METRIC_POINTS.name: MetricPointRow}


async def pages(engine: AsyncEngine, table: TelemetryTable, query: ExportQuery) -> AsyncIterator[ExportPage]:
    """Yield all matching rows of a table. What arrives meanwhile with an earlier time is not seen. Raises StoreError.

    Metric points belong to no trace: asked for one, that table has none.
    """
    if query.trace_id is not None and table is METRIC_POINTS:
        return
    place: Place | None = None
    while True:
        try:
            async with reading_connection(engine) as connection:
                page = await _page(connection, table, query, place)
        except (SQLAlchemyError, OSError) as error:
            raise translate(error) from error
        if not page.rows:
            return
        yield page
        place = page.last


async def _page(
    connection: PackedConnection, table: TelemetryTable, query: ExportQuery, place: Place | None
) -> ExportPage:
    page = ExportPage(table)
    size = 0
    statement = _statement(table, query, place)
    if await connection.reads_packed(statement):
        # Which rows first, for that needs few columns of the blocks; then no more blocks than they are in.
        keys = (await connection.execute(_keys(table, query, place))).all()
        if not keys:
            return page
        statement = _statement(table, query, place, (keys[0].time, keys[0].id), (keys[-1].time, keys[-1].id))
    async with connection.stream(statement, execution_options={"yield_per": _FETCH_ROWS}) as found:
        async for raw in found:
            row = _row(table, raw)
            page.rows.append(row)
            page.last = raw.time, raw.id
            size += sum(len(value) for value in row if isinstance(value, bytes | str))
            if size >= PAGE_BYTES_MAX:
                break
    page.resources = await _resources(connection, {row.resource_id for row in page.rows})
    page.scopes = await _scopes(connection, {row.scope_id for row in page.rows})
    return page


def _statement(
    table: TelemetryTable,
    query: ExportQuery,
    place: Place | None,
    first: Place | None = None,
    last: Place | None = None,
) -> Select[Any]:
    """Return the rows behind ``place``; with ``first`` and ``last``: just these and what is between."""
    stored = TABLES[table.name]
    key = tuple_(stored.c.time, stored.c.id)
    # jsonb as text: parsed by the driver it would no longer tell an int from a double.
    columns = [
        cast(stored.c[c.name], Text).label(c.name) if c.type == "jsonb" else stored.c[c.name] for c in table.columns
    ]
    statement = select(stored.c.id, *columns).where(*_conditions(stored, query))
    if first is not None and last is not None:
        return statement.where(key >= tuple_(*first), key <= tuple_(*last)).order_by(stored.c.time, stored.c.id)
    if place is not None:
        statement = statement.where(key > tuple_(*place))
    return statement.order_by(stored.c.time, stored.c.id).limit(PAGE_ROWS_MAX)


def _keys(table: TelemetryTable, query: ExportQuery, place: Place | None) -> Select[Any]:
    """Return time and id of the rows of ``_statement``."""
    stored = TABLES[table.name]
    return _statement(table, query, place).with_only_columns(stored.c.time, stored.c.id)


def _conditions(stored: Table, query: ExportQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.component is not None:
        conditions.append(stored.c.component == query.component)
    if query.trace_id is not None:
        conditions.append(stored.c.trace_id == UUID(query.trace_id))
    if query.since_ns is not None:
        conditions.append(stored.c.time >= timestamp(-(-query.since_ns // 1000)))
    if query.until_ns is not None:
        conditions.append(stored.c.time < timestamp(-(-query.until_ns // 1000)))
    return conditions


def _row(table: TelemetryTable, raw: Any) -> Row:
    """Return a row as decode made it: microseconds, bytes of ids, JSON as bytes."""
    row: Row = _ROW_TYPES[table.name](*(_value(c.type, getattr(raw, c.name)) for c in table.columns))
    return row


def _value(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "timestamptz":
        return ns_of(value) // 1000
    if kind == "uuid":
        return value.bytes
    return value.encode() if kind == "jsonb" else value


async def _resources(connection: AsyncConnection, ids: Iterable[bytes]) -> dict[bytes, ResourceRow]:
    table = resources.c
    columns = (table.id, table.component, cast(table.attributes, Text).label("attributes"))
    statement = select(*columns, table.dropped_attributes_count, table.schema_url, table.exact)
    found = await connection.execute(statement.where(table.id.in_([UUID(bytes=i) for i in ids])))
    rows = (ResourceRow(r.id.bytes, r.component, r.attributes.encode(), *r[3:]) for r in found)
    return {row.id: row for row in rows}


async def _scopes(connection: AsyncConnection, ids: Iterable[bytes]) -> dict[bytes, ScopeRow]:
    table = scopes.c
    columns = (table.id, table.name, table.version, cast(table.attributes, Text).label("attributes"))
    statement = select(*columns, table.dropped_attributes_count, table.schema_url, table.exact)
    found = await connection.execute(statement.where(table.id.in_([UUID(bytes=i) for i in ids])))
    rows = (ScopeRow(r.id.bytes, r.name, r.version, r.attributes.encode(), *r[4:]) for r in found)
    return {row.id: row for row in rows}
