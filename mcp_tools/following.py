"""PURE: how far a tail has come, as text that whoever follows passes back: an agent's cursor, an event's id."""

from mcp_tools.errors import UserInputError
from storage import cursor as cursors
from storage.cursor import InvalidCursor
from storage.filters import LogQuery
from storage.reading.tail import TailPlace


def cursor_of(place: TailPlace, query: LogQuery) -> str:
    """Return the place as text; numbers of transactions are told from the horizon on, and so are short."""
    base = place.horizon
    parts = [
        base,
        place.partly,
        place.partly_id,
        place.from_id,
        [x - base for x in place.done],
        [[x - base, i] for x, i in place.floors],
    ]
    return cursors.encode(parts, query.canonical())


def place_of(cursor: str, query: LogQuery) -> TailPlace:
    """Return the place that a cursor of the same query names. Raises UserInputError."""
    try:
        base, partly, partly_id, from_id, done, floors = cursors.decode(cursor, query.canonical())
        place = TailPlace(
            base, tuple(base + x for x in done), partly, partly_id, from_id, tuple((base + x, i) for x, i in floors)
        )
        numbers = [base, partly, partly_id, from_id, *place.done, *(n for f in place.floors for n in f)]
        if all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            return place
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    except (TypeError, ValueError):
        pass
    raise UserInputError("INVALID_CURSOR", "the cursor is damaged; pass it back exactly as it came")
