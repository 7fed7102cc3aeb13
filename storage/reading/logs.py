"""Log records: a page, one, the nearest to an empty window."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import cursor as cursors
from storage.filters import LogQuery, all_of, broad_of, depends_on_values, log_conditions
from storage.mapping import log_entry, us_of
from storage.models import log_records
from storage.packing.connection import PackedConnection
from storage.reading.bounds import FOUND_MAX, FREQUENT_S, hurried, search, unless_too_slow
from storage.reading.common import LOG_ENTRIES, LOGS
from storage.reading.matched import matched_logs
from storage.reading.messages import after_cursor
from storage.reading.resolving import resolved
from storage.views import LogEntry, Page

NEAREST_S = 0.1
"""Seconds that a look for what lies before or after an empty window may take: it is a courtesy."""


async def find_logs(connection: PackedConnection, query: LogQuery) -> Page[LogEntry]:
    """Return one page of log records. Raises InvalidCursor."""
    conditions, after = await resolved(connection, log_records, log_conditions(query)), after_cursor(query)
    statement = LOG_ENTRIES.where(all_of(conditions + after))
    key = (log_records.c.time, log_records.c.id)
    statement = statement.order_by(*(c.desc() for c in key) if query.order == "newest" else key)
    statement = statement.limit(query.limit + 1)
    rows, stopped, edge = await search(
        connection,
        log_records,
        statement,
        log_conditions(broad_of(query)) + after,
        newest=query.order == "newest",
        for_any_value=not depends_on_values(query),
        may_be_all=query.limit < FOUND_MAX,
    )
    page = rows[: query.limit]
    if len(rows) > query.limit:
        stopped, edge = None, (page[-1].time, page[-1].id)
    matched, at_least = len(page), True
    if stopped is None:  # counting would look at what the search has left
        more = len(rows) == query.limit + 1 or len(rows) >= FOUND_MAX
        matched, at_least = await matched_logs(connection, query, conditions, len(rows), more=more)
    return Page(
        items=[log_entry(row) for row in page],
        matched=matched,
        matched_is_lower_bound=at_least,
        next_cursor=cursors.encode([us_of(edge[0]), edge[1]], query.canonical()) if edge else None,
        stopped=stopped,
    )


async def get_log(connection: AsyncConnection, identifier: int) -> LogEntry | None:
    """Return one log record by its id, or None."""
    statement = LOG_ENTRIES.where(log_records.c.id == identifier)
    row = (await connection.execute(statement.limit(1))).first()
    return log_entry(row) if row is not None else None


async def _first(connection: PackedConnection, statement: Select[Any], *, by_value: bool) -> Any:
    """Return the first; what is looked for by its value is frequent and found in order, or else by its index."""
    if by_value:
        with unless_too_slow():
            async with hurried(connection, FREQUENT_S):
                return (await connection.execute(statement.limit(1))).scalar_one_or_none()
    async with hurried(connection, NEAREST_S, out_of_order=by_value):
        return (await connection.execute(statement.limit(1))).scalar_one_or_none()


async def nearest_data(connection: PackedConnection, query: LogQuery) -> tuple[int | None, int | None]:
    """Return the times of the last record before the window and the first one after it that match otherwise.

    Raises the DBAPIError of a statement that took more than NEAREST_S: what is rare or not there would be looked for in
    all that is stored.
    """
    fields = {name: getattr(query, name) for name in query.__slots__} | {"cursor": None}
    early = LogQuery(**fields | {"since_ns": None, "until_ns": query.since_ns})
    late = LogQuery(**fields | {"since_ns": query.until_ns, "until_ns": None})
    column, by_value = log_records.c.time, depends_on_values(query)
    before = after = None
    if query.since_ns is not None:
        conditions = await resolved(connection, log_records, log_conditions(early))
        statement = select(column).select_from(LOGS).where(all_of(conditions))
        before = await _first(connection, statement.order_by(column.desc()), by_value=by_value)
    if query.until_ns is not None:
        conditions = await resolved(connection, log_records, log_conditions(late))
        statement = select(column).select_from(LOGS).where(all_of(conditions))
        after = await _first(connection, statement.order_by(column), by_value=by_value)
    return (us_of(before) * 1000 if before else None, us_of(after) * 1000 if after else None)
