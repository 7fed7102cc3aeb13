"""Counts kept beside the rows, by minute: of log records by component and severity, of spans by component and status.

Each transaction that stores rows adds what it stored to ``log_count_deltas`` and ``span_count_deltas``; who deletes
rows adds the same with a minus (``subtracting``). Nothing is updated, so writers never wait for each other here.
``compact`` moves the deltas into ``log_counts`` and ``span_counts``: one row an hour, component and severity or status,
whose 60 minutes are lanes of bytes, big endian, so that a week of minutes is read as a few thousand rows. A minute
counts as what is in both; what is dropped with a partition leaves both (``forget``). So the counts are what
``count(*)`` would say, in every snapshot.
"""

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection as PsycopgConnection
from sqlalchemy import CTE, Insert, Table, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.columns import TelemetryTable
from storage.counts import Counts
from storage.dberrors import translate
from storage.models import LOG_COUNTS, SPAN_COUNTS, CountTables, log_records, spans

MINUTES_AN_HOUR = 60
COUNT_BYTES = 4
"""Width of a minute's lane in ``minutes``: 4,294,967,295 rows of one kind a minute."""
DURATION_BYTES = 12
"""Width of a minute's lane in ``durations``: nanoseconds."""

COUNTED: dict[str, CountTables] = {log_records.name: LOG_COUNTS, spans.name: SPAN_COUNTS}
"""Telemetry table -> what counts it; data points are not counted."""

_STORE = {
    log_records.name: b"""
INSERT INTO log_count_deltas (minute, component, severity_number, count)
SELECT to_timestamp(60 * minute), component, code, count
FROM unnest(%s::bigint[], %s::text[], %s::integer[], %s::bigint[]) AS u (minute, component, code, count)
""",
    spans.name: b"""
INSERT INTO span_count_deltas (minute, component, status_code, count, duration_ns)
SELECT to_timestamp(60 * minute), component, code, count, duration
FROM unnest(%s::bigint[], %s::text[], %s::integer[], %s::bigint[], %s::numeric[])
     AS u (minute, component, code, count, duration)
""",
}
_COMPACT = text("SELECT otel_ingest_compact_counts()")
_FORGET = text("SELECT otel_ingest_forget_counts(:table, :since, :until)")


async def store(connection: AsyncConnection, table: TelemetryTable, counts: Counts) -> None:
    """Add what a transaction stored, in the transaction: one statement, on the driver below (see ``digests``)."""
    statement = _STORE.get(table.name)
    if statement is None or not counts:
        return
    columns: list[list[Any]] = [list(column) for column in zip(*counts, strict=True)]
    columns.append([rows for rows, _ in counts.values()])
    if table.name == spans.name:
        columns.append([duration for _, duration in counts.values()])
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, PsycopgConnection)  # noqa: S101 - the engine is made for psycopg alone
    async with driver.cursor() as cursor:
        await cursor.execute(statement, columns, prepare=True)


def needed(table: Table) -> list[str]:
    """Return which columns of its rows tell what counts them."""
    counted = COUNTED.get(table.name)
    if counted is None:
        return [table.c.id.name]
    return ["time", "component", counted.code.name, *(["duration_ns"] if "duration_ns" in table.c else [])]


def subtracting(table: Table, gone: CTE) -> Insert | None:
    """Return the statement that takes rows from the counts as it deletes them; None where ``table`` is not counted.

    ``gone``: ``delete(table)….returning(…).cte()`` that returns at least what is ``needed``. It is executed as part of
    the statement: once, in one snapshot.
    """
    counted = COUNTED.get(table.name)
    if counted is None:
        return None
    minute = func.date_bin(text("interval '1 minute'"), gone.c.time, text("timestamptz '1970-01-01 00:00:00+00'"))
    code = func.coalesce(gone.c[counted.code.name], 0)
    groups = (minute.label("minute"), gone.c.component.label("component"), code.label("code"))
    names = ["minute", "component", counted.code.name, "count"]
    values = [*groups, (-func.count()).label("n")]
    if "duration_ns" in counted.deltas.c:
        names.append("duration_ns")
        values.append((-func.sum(gone.c.duration_ns)).label("duration"))
    rows = select(*values).group_by(text("1"), text("2"), text("3"))
    return insert(counted.deltas).from_select(names, rows)


async def forget(connection: AsyncConnection, table: str, since: datetime, until: datetime) -> None:
    """Forget the counts of [since, until), whole hours, of a telemetry table: a partition of it is being dropped.

    For the transaction that drops it, as the owner, once no other transaction can store rows there any more: with the
    partition detached, or locked. In SQL it is ``otel_ingest_forget_counts(table, since, until)``.
    """
    await connection.execute(_FORGET, {"table": table, "since": since, "until": until})


async def compact(engine: AsyncEngine) -> None:
    """Move the deltas into rows of an hour each; one at a time, and readers see the same counts. Raises StoreError."""
    try:
        async with engine.begin() as connection:
            await connection.execute(_COMPACT)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
