"""How far a read goes: a statement in a hurry, a count that may fall short, a search over so many records at most."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from sqlalchemy import ColumnElement, Row, Select, Table, func, literal, select, tuple_
from sqlalchemy.exc import DBAPIError

from storage.errors import QuestionTooLarge
from storage.packing.connection import Manner, PackedConnection
from storage.views import Stopped

COUNT_S = 1.0
"""Seconds that counting what matches may take; an answer does not fail for want of a number."""
SEARCH_S = 3.0
"""Seconds that a search may take by itself, before it is done over so many records at most."""
FREQUENT_S = 0.04
"""Seconds for a search through all records in the order of time: what is frequent is found within a few thousand."""
FOUND_MAX = 1_000
"""Rows of a search that finds all before it sorts them: as many are read at once, for then they need not be counted."""
SEARCH_ROWS = 200_000
"""Records that such a search looks at: about a third of a second."""
# The second try, where the packed ones among SEARCH_ROWS records are more than one statement may unpack.
_FEWER = 10


@asynccontextmanager
async def hurried(
    connection: PackedConnection, seconds: float, *, for_any_value: bool = False, out_of_order: bool = False
) -> AsyncIterator[None]:
    """Give each statement within so many seconds at most. Raises SQLAlchemyError; ``is_too_slow`` tells.

    After one that was cancelled the connection goes on in a new transaction, which is another snapshot.
    ``for_any_value``: they may be planned once for whatever is looked for; ``out_of_order``: see ``Manner`` too.
    """
    before = connection.manner(Manner(max(int(seconds * 1000), 1), for_any_value, out_of_order))
    try:
        yield
    except DBAPIError as error:
        if is_too_slow(error):
            await connection.begin_anew()
        raise
    finally:
        connection.manner(before)


def is_too_slow(error: DBAPIError | QuestionTooLarge) -> bool:
    """Whether a statement was cancelled at its time limit, or would have needed too many packed or cold records."""
    return isinstance(error, QuestionTooLarge) or isinstance(error.orig, psycopg.errors.QueryCanceled)


@contextmanager
def unless_too_slow() -> Iterator[None]:
    """Go on behind what is too slow (``is_too_slow``); raises every other error of it."""
    try:
        yield
    except (DBAPIError, QuestionTooLarge) as error:
        if not is_too_slow(error):
            raise


async def count_up_to(connection: PackedConnection, matching: Select[Any], most: int, seen: int) -> tuple[int, bool]:
    """Return how many rows match, and whether it is at least so many: counted to ``most``, for COUNT_S.

    ``seen``: how many are known to match already.
    """
    inner = matching.limit(most + 1).subquery()
    with unless_too_slow():
        async with hurried(connection, COUNT_S):
            count = int((await connection.execute(select(func.count()).select_from(inner))).scalar_one())
        return min(count, most), count > most
    return min(seen, most), True


async def search(
    connection: PackedConnection,
    table: Table,
    statement: Select[Any],
    broad: Sequence[ColumnElement[bool]],
    *,
    newest: bool,
    for_any_value: bool,
    may_be_all: bool = False,
) -> tuple[Sequence[Row[Any]], Stopped | None, tuple[Any, int] | None]:
    """Return the rows of a search in the order of time and id; where it was too slow, those among SEARCH_ROWS records.

    ``broad``: those conditions of it that an index answers. Then also how far it came, and the time and id of its end.
    ``may_be_all``: up to FOUND_MAX rows may come, beyond the limit of the statement.
    """
    for attempt, seconds, out_of_order in await _attempts(
        connection, statement, for_any_value=for_any_value, may_be_all=may_be_all
    ):
        with unless_too_slow():
            async with hurried(connection, seconds, for_any_value=for_any_value, out_of_order=out_of_order):
                return (await connection.execute(attempt)).all(), None, None
    try:
        return await _bounded(connection, table, statement, broad, SEARCH_ROWS, newest=newest)
    except QuestionTooLarge:
        # Packed records of so many are too much to unpack, where they are long.
        return await _bounded(connection, table, statement, broad, SEARCH_ROWS // _FEWER, newest=newest)


async def _attempts(
    connection: PackedConnection,
    statement: Select[Any],
    *,
    for_any_value: bool,
    may_be_all: bool,
) -> list[tuple[Select[Any], float, bool]]:
    """Return how a search is tried before it is bounded: statements, seconds for each, and whether out of order.

    PostgreSQL knows the values it saw in a sample, and takes a rare one that was there for one in a hundred.
    """
    if for_any_value:
        return [(statement, SEARCH_S, False)]
    at_once = may_be_all and not await connection.reads_packed(statement)
    whole = statement.limit(FOUND_MAX) if at_once else statement
    if not await _goes_by_time(connection, statement):
        return [(whole, SEARCH_S, False)]
    return [(statement, FREQUENT_S, False), (whole, SEARCH_S, True)]


async def _goes_by_time(connection: PackedConnection, statement: Select[Any]) -> bool:
    """Whether PostgreSQL would go through the records in their order until it has found as many as are asked for."""
    node: dict[str, Any] | None = await connection.plan(statement)
    while node is not None:
        if "Sort" in node["Node Type"]:
            return False
        node = next(iter(node.get("Plans", ())), None)
    return True


async def _bounded(
    connection: PackedConnection,
    table: Table,
    statement: Select[Any],
    broad: Sequence[ColumnElement[bool]],
    most: int,
    *,
    newest: bool,
) -> tuple[Sequence[Row[Any]], Stopped | None, tuple[Any, int] | None]:
    """Return what ``search`` does, of those among ``most`` records."""
    edge, stopped = await edge_of(connection, table, broad, most, newest=newest)
    if edge is None:
        return (await connection.execute(statement)).all(), None, None
    key, place = tuple_(table.c.time, table.c.id), tuple_(literal(edge[0]), literal(edge[1]))
    here = key >= place if newest else key <= place
    return (await connection.execute(statement.where(here))).all(), stopped, edge


async def edge_of(
    connection: PackedConnection,
    table: Table,
    broad: Sequence[ColumnElement[bool]],
    most: int | None = None,
    *,
    newest: bool = True,
) -> tuple[tuple[Any, int] | None, Stopped | None]:
    """Return time and id of the ``most``-th record, and what a search that stops there says; None: there are fewer.

    ``broad``: conditions that an index answers; ``most``: SEARCH_ROWS, unless it is given.
    """
    most = SEARCH_ROWS if most is None else most
    key = (table.c.time, table.c.id)
    looked_at = select(*key).where(*broad).order_by(*(c.desc() for c in key) if newest else key)
    edge = (await connection.execute(looked_at.offset(most - 1).limit(1))).one_or_none()
    if edge is None:
        return None, None
    about = max(await _about(connection, table, broad), most)
    return (edge.time, edge.id), Stopped(searched=most, about=about)


async def _about(connection: PackedConnection, table: Table, broad: Sequence[ColumnElement[bool]]) -> int:
    """Return how many records the search would look at without a bound: of rows as PostgreSQL estimates."""
    looked_at = select(table.c.id).where(*broad)
    return int((await connection.plan(looked_at))["Plan Rows"]) + await connection.elsewhere(looked_at)
