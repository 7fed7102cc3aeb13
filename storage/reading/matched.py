"""How many log records match in all: beside a page, and never at its cost."""

from sqlalchemy import ColumnElement, literal, select

from storage.filters import LogQuery, all_of
from storage.packing.connection import PackedConnection
from storage.reading import bounds
from storage.reading.bounds import count_up_to, hurried, unless_too_slow
from storage.reading.common import COUNT_MAX, LOGS
from storage.reading.stats import count_logs


async def matched_logs(
    connection: PackedConnection, query: LogQuery, conditions: list[ColumnElement[bool]], seen: int, *, more: bool
) -> tuple[int, bool]:
    """Return how many records match ``query``, whose ``conditions`` these are, and whether it is at least so many.

    ``seen``: rows of the page that was read, ``more``: whether there may be others behind it. A page that holds all of
    them needs no count; the roll-ups tell all of them; else they are counted, and that has bounds.
    """
    if not more and query.cursor is None:
        return seen, False
    with unless_too_slow():
        # As the search ran: another manner would be a round trip.
        async with hurried(connection, bounds.SEARCH_S, for_any_value=True):
            exact = await count_logs(connection, query)
        if exact is not None:
            return exact, False
        counted = select(literal(1)).select_from(LOGS).where(all_of(conditions))
        return await count_up_to(connection, counted, COUNT_MAX, seen)
    return seen, True
