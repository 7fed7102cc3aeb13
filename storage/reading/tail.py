"""Log records in the order in which their transactions end: none is missed, none comes twice.

Ids and times are given out before COMMIT, so neither tells what is new. What tells is the transaction that stored a row
(the system column ``xmin``): those below the oldest one still running are all ended and their rows all seen; of those
above it the ones whose rows were given are remembered, by number. A row belongs to exactly one transaction and becomes
visible with all others of it, so that page by page each is given once. Savepoints have numbers of their own and are
remembered by these.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Text, and_, cast, func, literal, literal_column, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.filters import LogQuery, all_of, log_conditions
from storage.mapping import log_columns, log_entry, log_node, message_columns
from storage.models import log_records
from storage.reading.common import LOGS
from storage.views import LogEntry, LogNode

# While a transaction runs, so many that end meanwhile are remembered; past that the tail waits for it, and misses none.
REMEMBERED_MAX = 250
# How many earlier looks are remembered, to know below which id nothing new can be.
_FLOORS_MAX = 4
# Ids that may be given out before their transaction has a number: rows of one COPY buffer, of every writer.
_SLACK_IDS = 20_000
# A transaction that ran already when a tail began is seen if it began within so many ids.
_BEGAN_BEFORE_IDS = 200_000
_EDGE_ROWS = 1_000
_XID_MASK = 0xFFFFFFFF

Record = TypeVar("Record", LogNode, LogEntry)


@dataclass(frozen=True, slots=True)
class TailPlace:
    """How far a tail has come.

    ``horizon``: rows of transactions below it were all given, as were those of the transactions in ``done``, and of
    ``partly`` (0: none) those up to id ``partly_id``. ``from_id``: no row that was not given has an id below it.
    ``floors``: (number of the next transaction, an id given out by then) of earlier looks, the oldest first: what
    begins later has larger ids.
    """

    horizon: int
    done: tuple[int, ...]
    partly: int
    partly_id: int
    from_id: int
    floors: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ReadAs(Generic[Record]):
    """What is read of a record: its columns (``id`` among them), and the view of a row of them."""

    columns: Callable[[], list[Any]]
    view: Callable[[Any], Record]


MESSAGES = ReadAs(message_columns, log_node)
"""What records say, the first of it."""
WHOLE = ReadAs(log_columns, log_entry)
"""All of each record: pages of them are kept short."""


@dataclass(frozen=True, slots=True)
class TailPage(Generic[Record]):
    """Records, and for each the place behind it. ``place``: behind the last; ``waiting``: transactions hold it up."""

    records: list[Record]
    places: list[TailPlace]
    place: TailPlace
    waiting: bool


async def begin(connection: AsyncConnection, query: LogQuery, read: ReadAs[Record]) -> TailPage[Record]:
    """Return the newest records, oldest first, and the place from which all that is stored after them is new."""
    horizon, next_xid, last_id = await _look_around(connection)
    from_id = last_id - (_SLACK_IDS if horizon == next_xid else _BEGAN_BEFORE_IDS)
    place = TailPlace(horizon, (), 0, 0, max(from_id, 0), ((next_xid, last_id),))
    xid = _xid(next_xid).label("xid")
    seen = select(xid).distinct().select_from(LOGS).where(all_of(_new(query, place, xid)))
    done = tuple(sorted((await connection.execute(seen)).scalars()))
    newest = select(*read.columns()).select_from(LOGS).where(all_of(log_conditions(query)))
    newest = newest.order_by(log_records.c.time.desc(), log_records.c.id.desc()).limit(query.limit)
    records = [read.view(row) for row in await connection.execute(newest)][::-1]
    place = replace(place, done=done)
    return TailPage(records, [place] * len(records), place, waiting=False)


async def look(
    connection: AsyncConnection, query: LogQuery, place: TailPlace, read: ReadAs[Record]
) -> TailPage[Record]:
    """Return up to ``query.limit`` records that were not given yet, and how far that comes."""
    horizon, next_xid, last_id = await _look_around(connection)
    xid = _xid(next_xid).label("xid")
    statement = select(*read.columns(), xid).select_from(LOGS).where(all_of(_new(query, place, xid)))
    # What is left of a transaction that was given in part comes first; then they come by number.
    statement = statement.order_by(xid != place.partly, xid, log_records.c.id)
    rows = (await connection.execute(statement.limit(query.limit + 1))).all()
    records: list[Record] = []
    places: list[TailPlace] = []
    waiting, step = False, place
    for row in rows[: query.limit]:
        step = _behind(step, row.xid, row.id, place.horizon if row.xid == place.partly else min(horizon, row.xid))
        if sum(1 for x in step.done if x >= horizon) > REMEMBERED_MAX:
            waiting = True
            break
        records.append(read.view(row))
        places.append(step)
    reached = places[-1] if places else place
    if len(rows) <= query.limit and not waiting:  # all that is visible was given
        reached = _ended(reached, horizon, (next_xid, last_id))
        places[-1:] = [reached] if places else []
    return TailPage(records, places, reached, waiting)


def _behind(place: TailPlace, xid: int, identifier: int, horizon: int) -> TailPlace:
    """Return the place behind a row; of the transaction before it all rows were given when another one begins."""
    done = (*place.done, place.partly) if place.partly not in {0, xid} else place.done
    horizon = max(place.horizon, horizon)
    done = tuple(x for x in done if x >= horizon)
    return replace(place, horizon=horizon, done=done, partly=xid, partly_id=identifier)


def _ended(place: TailPlace, horizon: int, look_at: tuple[int, int]) -> TailPlace:
    """Return the place of one who has seen all that was visible; the looks that may still tell something are kept."""
    done = {*place.done, place.partly} - {0}
    horizon = max(place.horizon, horizon)
    floors = [*place.floors, look_at]
    passed = [f for f in floors if f[0] <= horizon]
    ahead = [f for f in floors if f[0] > horizon]
    from_id = max(place.from_id, passed[-1][1] - _SLACK_IDS) if passed else place.from_id
    kept = ahead if len(ahead) <= _FLOORS_MAX else [*ahead[:1], *ahead[1 - _FLOORS_MAX :]]
    return TailPlace(horizon, tuple(sorted(x for x in done if x >= horizon)), 0, 0, from_id, tuple(kept))


async def _look_around(connection: AsyncConnection) -> tuple[int, int, int]:
    """Return the oldest running transaction, the number of the next one, and an id that is given out already."""
    snapshot = func.pg_current_snapshot()
    edges = (func.pg_snapshot_xmin(snapshot), func.pg_snapshot_xmax(snapshot))
    numbers = select(*(cast(cast(edge, Text), BigInteger) for edge in edges))
    row = (await connection.execute(numbers)).one()
    horizon, next_xid = int(row[0]), int(row[1])
    newest = select(log_records.c.id).order_by(log_records.c.time.desc(), log_records.c.id.desc()).limit(_EDGE_ROWS)
    last_id = (await connection.execute(select(func.max(newest.subquery().c.id)))).scalar_one()
    return horizon, next_xid, last_id or 0


def _xid(next_xid: int) -> ColumnElement[int]:
    """Return the whole number of the transaction that stored a row: ``xmin`` holds its lower 32 bits."""
    low = cast(cast(literal_column("log_records.xmin"), Text), BigInteger)
    following = literal(next_xid, BigInteger)
    return following - (following - low).op("&")(literal(_XID_MASK, BigInteger))


def _new(query: LogQuery, place: TailPlace, xid: ColumnElement[int]) -> list[Any]:
    """Return the conditions of the rows that match and were not given yet."""
    given = and_(xid == place.partly, log_records.c.id <= place.partly_id)
    found = [*log_conditions(query), log_records.c.id > place.from_id, xid >= place.horizon, not_(given)]
    return [*found, xid.not_in(place.done)] if place.done else found
