"""Counts kept beside the rows, by minute: of log records by component and severity, of spans by component and status.

Each transaction that stores rows adds what it stored to ``log_count_deltas`` and ``span_count_deltas``; who deletes
rows adds the same with a minus (``subtracting``). Nothing is updated, so writers never wait for each other here.
``compact`` moves the deltas into ``log_counts`` and ``span_counts``: one row an hour, component and severity or status,
whose 60 minutes are lanes of bytes, big endian, so that a week of minutes is read as a few thousand rows. A minute
counts as what is in both; what is dropped with a partition leaves both (``forget``). So the counts are what
``count(*)`` would say, in every snapshot.

Of spans the same transactions tell ``span_detail_deltas`` more, which goes into ``span_names`` (an hour's names),
``span_times`` (how long what was served took, by buckets) and out of ``span_calls`` (who called whom, counted later).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Insert,
    Integer,
    Table,
    and_,
    case,
    cast,
    false,
    func,
    insert,
    or_,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.columns import TelemetryTable
from storage.count_models import LOG_COUNTS, SPAN_COUNTS, CountTables, span_detail_deltas
from storage.counts import NAME_CHARS_MAX, ROOT_KINDS, SERVING_KINDS, Counts, is_of_served
from storage.dberrors import translate
from storage.latency import CELL
from storage.models import log_records, spans
from storage.round_trip import Statement

MINUTES_AN_HOUR = 60
COUNT_BYTES = 4
"""Width of a minute's lane in ``minutes``: 4,294,967,295 rows of one kind a minute."""
DURATION_BYTES = 12
"""Width of a minute's lane in ``durations``: nanoseconds."""

COUNTED: dict[str, CountTables] = {log_records.name: LOG_COUNTS, spans.name: SPAN_COUNTS}
"""Telemetry table -> what counts it; data points are not counted."""

_ERROR = 2  # STATUS_CODE_ERROR
_NAMES_MAX = 200
"""Names of one component in one transaction that are counted by name; those beyond are counted as one."""
_STORE_LOGS = b"""
INSERT INTO log_count_deltas (minute, component, severity_number, count)
SELECT to_timestamp(60 * minute), component, code, count
FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[]) AS u (minute, component, code, count)
"""
_STORE_SPANS = b"""
WITH counted AS (
  INSERT INTO span_count_deltas (minute, component, status_code, count, duration_ns)
  SELECT to_timestamp(60 * minute), component, code, count, duration
  FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[], $5::numeric[])
       AS u (minute, component, code, count, duration)
)
INSERT INTO span_detail_deltas (minute, component, name, kind, failed, count, cells)
SELECT to_timestamp(60 * minute), component, name, kind, failed, count, cells::bigint[]
FROM unnest($6::bigint[], $7::text[], $8::text[], $9::integer[], $10::boolean[], $11::bigint[], $12::text[])
     AS u (minute, component, name, kind, failed, count, cells)
"""
_COMPACT = text("SELECT otel_ingest_compact_counts()")
_COMPACT_SPANS = text("SELECT otel_ingest_compact_spans()")
_CATCH_UP = text("SELECT otel_ingest_catch_up_spans()")
_FORGET = text("SELECT otel_ingest_forget_counts(:table, :since, :until)")
_FORGET_SPANS = text("SELECT otel_ingest_forget_spans(:since, :until)")


def storing(table: TelemetryTable, counts: Counts) -> Statement | None:
    """Return the statement that adds to the counts what its transaction stored; None where nothing is counted."""
    if not counts or table.name not in COUNTED:
        return None
    if table.name == spans.name:
        sql, columns = _STORE_SPANS, [*_by_status(counts), *_by_name(counts)]
    else:
        sql, columns = _STORE_LOGS, _columns((*key, cell[0]) for key, cell in counts.items())
    return sql, [column.encode() for column in columns]


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return each column as PostgreSQL's text of an array."""
    return [f"{{{','.join(map(_element, column))}}}" for column in zip(*rows, strict=True)]


def _element(value: str | float | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _by_status(counts: Counts) -> list[str]:
    """Return minutes, components, status codes, spans and durations."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for key, (count, duration) in counts.items():
        if not is_of_served(key):
            cell = found.setdefault(key[:3], [0, 0])
            cell[0] += count
            cell[1] += duration
    return _columns((*key, *cell) for key, cell in found.items())


def _by_name(counts: Counts) -> list[str]:
    """Return minutes, components, names, kinds, whether failed, spans and the cells of what was served.

    Spans are told by name, and without one what was served by all of them.
    """
    spans_of: dict[tuple[Any, ...], int] = {}
    served_of: dict[tuple[Any, ...], list[str]] = {}
    named: dict[str, set[str]] = {}
    for key, (count, _) in counts.items():
        if is_of_served(key):
            minute, component, failed, bucket = key
            served_of.setdefault((minute, component, failed), []).append(str(bucket * CELL + count))
            continue
        minute, component, _, name, kind = key
        names = named.setdefault(component, set())
        if len(names) < _NAMES_MAX:
            names.add(name)
        named_key = (minute, component, name, kind) if name in names else (minute, component, None, 0)
        spans_of[named_key] = spans_of.get(named_key, 0) + count
    rows: list[tuple[Any, ...]] = [(*key, 0, count, None) for key, count in spans_of.items()]
    for (minute, component, failed), cells in served_of.items():
        rows.append((minute, component, None, 0, failed, 0, f"{{{','.join(cells)}}}"))
    return _columns(rows)


def needed(table: Table) -> list[str]:
    """Return which columns of its rows tell what counts them."""
    counted = COUNTED.get(table.name)
    if counted is None:
        return [table.c.id.name]
    more = ["duration_ns", "name", "kind", "parent_span_id"] if table is spans else []
    return ["time", "component", counted.code.name, *more]


def subtracting(table: Table, gone: CTE) -> list[Insert]:
    """Return the statements that take rows from the counts as they are deleted; none where ``table`` is not counted.

    ``gone``: ``delete(table)….returning(…).cte()`` that returns at least what is ``needed``. It is executed as part of
    the statement: once, in one snapshot.
    """
    counted = COUNTED.get(table.name)
    if counted is None:
        return []
    minute = func.date_bin(text("interval '1 minute'"), gone.c.time, text("timestamptz '1970-01-01 00:00:00+00'"))
    code = func.coalesce(gone.c[counted.code.name], 0)
    groups = (minute.label("minute"), gone.c.component.label("component"), code.label("code"))
    names = ["minute", "component", counted.code.name, "count"]
    values = [*groups, (-func.count()).label("n")]
    if "duration_ns" in counted.deltas.c:
        names.append("duration_ns")
        values.append((-func.sum(gone.c.duration_ns)).label("duration"))
    rows = select(*values).group_by(text("1"), text("2"), text("3"))
    counting = insert(counted.deltas).from_select(names, rows)
    return [counting, _subtracting_details(gone, minute)] if table is spans else [counting]


def _subtracting_details(gone: CTE, minute: ColumnElement[Any]) -> Insert:
    """Return the same for what is told of spans by name."""
    column = gone.c
    bucket = func.otel_ingest_bucket(column.duration_ns, type_=Integer)
    parts = select(
        minute.label("minute"), column.component, func.left(column.name, NAME_CHARS_MAX).label("name"), column.kind,
        func.coalesce(column.status_code == _ERROR, false()).label("failed"),
        case((served(column), bucket)).label("bucket"), func.count().label("n"),
    ).group_by(*(text(str(n)) for n in range(1, 7))).subquery()  # fmt: skip
    part = parts.c
    keys = (part.minute, part.component, part.name, part.kind, part.failed)
    cells = func.array_agg(cast(part.bucket, BigInteger) * CELL - part.n).filter(part.bucket.isnot(None))
    rows = select(*keys, -func.sum(part.n), cells).group_by(*keys)
    return insert(span_detail_deltas).from_select([c.name for c in span_detail_deltas.c], rows)


def served(column: Any) -> ColumnElement[bool]:
    """Return whether a span is a request that its component served, or a job of its own (``storage.counts``)."""
    own = and_(column.parent_span_id.is_(None), column.kind.in_(ROOT_KINDS))
    return or_(column.kind.in_(SERVING_KINDS), own)


async def forget(connection: AsyncConnection, table: str, since: datetime, until: datetime) -> None:
    """Forget the counts of [since, until), whole hours, of a telemetry table: a partition of it is being dropped.

    For the transaction that drops it, as the owner, once no other transaction can store rows there any more: with the
    partition detached, or locked. In SQL it is ``otel_ingest_forget_counts(table, since, until)``.
    """
    await connection.execute(_FORGET, {"table": table, "since": since, "until": until})
    if table == spans.name:
        await connection.execute(_FORGET_SPANS, {"since": since, "until": until})


async def compact(engine: AsyncEngine) -> None:
    """Move the deltas into rows of an hour each; one at a time, and readers see the same counts. Raises StoreError.

    Then count what was not counted as it was stored, and who called whom in minutes that are over: 2 s of it at a time.
    """
    try:
        for statement in (_COMPACT, _COMPACT_SPANS, _CATCH_UP):
            async with engine.begin() as connection:
                await connection.execute(statement)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
