"""What log records say, without what only one of them in full needs: for folding, patterns and surroundings."""

from typing import Any

from sqlalchemy import Select, literal, tuple_

from storage import cursor as cursors
from storage.filters import LogQuery, all_of, broad_of, depends_on_values, log_conditions, timestamp
from storage.mapping import log_node, us_of
from storage.models import log_records
from storage.packing.connection import PackedConnection
from storage.reading.bounds import search
from storage.reading.common import MESSAGES
from storage.reading.matched import matched_logs
from storage.reading.resolving import resolved
from storage.views import LogNode, Page


async def find_messages(connection: PackedConnection, query: LogQuery) -> Page[LogNode]:
    """Return up to ``query.limit`` messages behind ``query.cursor``, and how many match in all. Raises InvalidCursor.

    Where the next page begins is for the caller to say, by ``place_of``; ``next_cursor``: behind what was searched.
    """
    conditions = await resolved(connection, log_records, log_conditions(query))
    after = after_cursor(query)
    rows, stopped, edge = await search(
        connection,
        log_records,
        _statement(query, conditions + after),
        log_conditions(broad_of(query)) + after,
        newest=query.order == "newest",
        for_any_value=not depends_on_values(query),
    )
    if len(rows) == query.limit:
        stopped = edge = None
    matched, at_least = len(rows), True
    if stopped is None:  # counting would look at what the search has left
        more = len(rows) == query.limit
        matched, at_least = await matched_logs(connection, query, conditions, len(rows), more=more)
    return Page(
        items=[log_node(row) for row in rows],
        matched=matched,
        matched_is_lower_bound=at_least,
        next_cursor=cursors.encode([us_of(edge[0]), edge[1]], query.canonical()) if edge else None,
        stopped=stopped,
    )


async def read_messages(connection: PackedConnection, query: LogQuery) -> list[LogNode]:
    """Return up to ``query.limit`` messages behind ``query.cursor``. Raises InvalidCursor."""
    conditions = await resolved(connection, log_records, log_conditions(query))
    return [log_node(row) for row in await connection.execute(_statement(query, conditions + after_cursor(query)))]


def place_of(record: LogNode, query: LogQuery) -> str:
    """Return the cursor of the store behind a record in the answer to ``query``."""
    return cursors.encode([record.time_ns // 1000, record.id], query.canonical())


def after_cursor(query: LogQuery) -> list[Any]:
    """Return what holds behind the cursor of a question, where it has one. Raises InvalidCursor."""
    if query.cursor is None:
        return []
    time_us, identifier = cursors.decode(query.cursor, query.canonical(), (int, int))
    key, place = tuple_(log_records.c.time, log_records.c.id), tuple_(literal(timestamp(time_us)), literal(identifier))
    return [key < place if query.order == "newest" else key > place]


def _statement(query: LogQuery, conditions: list[Any]) -> Select[Any]:
    key = (log_records.c.time, log_records.c.id)
    statement = MESSAGES.where(all_of(conditions))
    return statement.order_by(*(c.desc() for c in key) if query.order == "newest" else key).limit(query.limit)
