"""What log records say, without what only one of them in full needs: for folding, patterns and surroundings."""

from typing import Any

from sqlalchemy import literal, tuple_

from storage import cursor as cursors
from storage.filters import LogQuery, all_of, log_conditions, timestamp
from storage.mapping import log_node
from storage.models import log_records
from storage.packing.connection import PackedConnection
from storage.reading.common import MESSAGES
from storage.reading.matched import matched_logs
from storage.reading.resolving import resolved
from storage.views import LogNode, Page


async def find_messages(connection: PackedConnection, query: LogQuery) -> Page[LogNode]:
    """Return up to ``query.limit`` messages behind ``query.cursor``, and how many match in all. Raises InvalidCursor.

    ``next_cursor`` is None: where the next page begins is for the caller to say, by ``place_of``.
    """
    conditions = await resolved(connection, log_records, log_conditions(query))
    rows = await _read(connection, query, conditions)
    matched, at_least = await matched_logs(connection, query, conditions, len(rows), more=len(rows) == query.limit)
    return Page(
        items=rows,
        matched=matched,
        matched_is_lower_bound=at_least,
        next_cursor=None,
    )


async def read_messages(connection: PackedConnection, query: LogQuery) -> list[LogNode]:
    """Return up to ``query.limit`` messages behind ``query.cursor``. Raises InvalidCursor."""
    return await _read(connection, query, await resolved(connection, log_records, log_conditions(query)))


def place_of(record: LogNode, query: LogQuery) -> str:
    """Return the cursor of the store behind a record in the answer to ``query``."""
    return cursors.encode([record.time_ns // 1000, record.id], query.canonical())


async def _read(connection: PackedConnection, query: LogQuery, conditions: list[Any]) -> list[LogNode]:
    key = (log_records.c.time, log_records.c.id)
    newest = query.order == "newest"
    if query.cursor is not None:
        time_us, identifier = cursors.decode(query.cursor, query.canonical(), (int, int))
        place = tuple_(literal(timestamp(time_us)), literal(identifier))
        conditions = [*conditions, tuple_(*key) < place if newest else tuple_(*key) > place]
    statement = MESSAGES.where(all_of(conditions))
    statement = statement.order_by(*(c.desc() for c in key) if newest else key).limit(query.limit)
    return [log_node(row) for row in await connection.execute(statement)]
