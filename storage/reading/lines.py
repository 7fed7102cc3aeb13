"""Log lines as Loki's clients ask for them: many at once, not counting all that match; and counts by bins of time."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.errors import PermanentStoreError
from storage.filters import LogQuery, all_of, log_conditions, timestamp
from storage.mapping import log_entry, us_of
from storage.models import log_records
from storage.reading.common import LOG_ENTRIES, LOGS
from storage.views import LineCount, LogEntry

# A record may have 8 MiB and an answer 5,000 of them.
LINES_BYTES_MAX = 64 * 1024 * 1024
# Of components by severities by bins; more could not be drawn.
COUNTS_MAX = 200_000
_FETCH_ROWS = 200
_MICROSECOND = timedelta(microseconds=1)


async def read_lines(connection: AsyncConnection, query: LogQuery) -> list[LogEntry]:
    """Return up to ``query.limit`` matching records in its order; ``query.cursor`` is not looked at.

    Raises PermanentStoreError where they are over LINES_BYTES_MAX.
    """
    key = (log_records.c.time, log_records.c.id)
    statement = LOG_ENTRIES.where(all_of(log_conditions(query)))
    statement = statement.order_by(*(c.desc() for c in key) if query.order == "newest" else key).limit(query.limit)
    found: list[LogEntry] = []
    size = 0
    async with connection.stream(statement, execution_options={"yield_per": _FETCH_ROWS}) as rows:
        async for row in rows:
            size += len(row.body or "") + len(str(row.attributes))
            if size > LINES_BYTES_MAX:
                raise PermanentStoreError(f"the answer is over {LINES_BYTES_MAX // 2**20} MiB; ask for fewer lines")
            found.append(log_entry(row))
    return found


async def line_counts(
    connection: AsyncConnection, query: LogQuery, origin_ns: int = 0, width_ns: int | None = None
) -> list[LineCount]:
    """Return how many match by component and severity; with ``width_ns`` by bins (start, end] from ``origin_ns`` too.

    Raises PermanentStoreError where there are over COUNTS_MAX of them.
    """
    table = log_records.c
    columns: list[Any] = [table.component, table.severity_number]
    if width_ns is not None:
        # A bin of date_bin holds its start and not its end; these hold their end and not their start.
        width = timedelta(microseconds=width_ns // 1000)
        columns.append(func.date_bin(width, table.time - _MICROSECOND, timestamp(origin_ns // 1000)).label("bin"))
    statement = select(*columns, func.count().label("n")).select_from(LOGS).where(all_of(log_conditions(query)))
    rows = (await connection.execute(statement.group_by(*columns).limit(COUNTS_MAX + 1))).all()
    if len(rows) > COUNTS_MAX:
        raise PermanentStoreError(
            f"over {COUNTS_MAX:,} counts; ask for fewer components, a longer step or a shorter time"
        )
    return [
        LineCount(
            component=row.component,
            severity_number=row.severity_number,
            bin=None if width_ns is None else (us_of(row.bin) - origin_ns // 1000) // (width_ns // 1000),
            count=row.n,
        )
        for row in rows
    ]
