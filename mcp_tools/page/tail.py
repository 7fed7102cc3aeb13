"""What arrives while one looks: server-sent events, one a record, as JSON and as the row the page shows.

An event's id is the place behind it, so that a browser that lost its connection misses nothing and repeats nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from mcp_tools.errors import UserInputError
from mcp_tools.following import cursor_of, place_of
from mcp_tools.page.question import question
from mcp_tools.page.records import data_of
from mcp_tools.page.session import Sessions
from mcp_tools.page.shell import fragment, twin
from mcp_tools.page.state import Here
from mcp_tools.page.visit import Visit
from storage.errors import StoreError
from storage.filters import LogQuery
from storage.reader import Reader
from storage.reading.tail import WHOLE, TailPlace
from storage.views import LogEntry

POLL_S = 0.5
"""Seconds between looks: within a second after it happened."""
SHOWN_A_LOOK_MAX = 100
"""Past it the oldest of a look are counted and not shown: nobody reads 200 lines a second."""
FOLLOWERS_MAX = 32
"""Tails at the same time; each is a question to the store every POLL_S."""
_LOOKBACK_NS = 60 * 1_000_000_000
_PAGE, _PAGES_MAX = 200, 25
_PING_S = 15.0
_followers = 0
_Told = tuple[LogEntry, TailPlace]


async def stream(visit: Visit, request: Request, sessions: Sessions) -> Response:
    """Return an endless answer of events; a revoked token or a session that ended ends it. Raises UserInputError."""
    if _followers >= FOLLOWERS_MAX:
        busy = f"{FOLLOWERS_MAX} tails are being followed already; try again later\n"
        return PlainTextResponse(busy, 503, {"Retry-After": "10"})
    # What is stored from now on is new whatever its time; the window is of the page around it.
    asked = replace(question(visit).query, since_ns=None, until_ns=None, order="newest", limit=_PAGE)
    place = place_after(request.headers.get("last-event-id", ""), asked)

    async def allowed() -> bool:
        visitor = await sessions.visitor(request)
        return visitor is not None and visitor.may("read")

    following = events(visit.reader, asked, place, allowed)
    return StreamingResponse(following, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def place_after(text: str, query: LogQuery) -> TailPlace | None:
    """Return where a browser that lost its connection was; None where it begins, or was at another question."""
    try:
        return place_of(text, query) if text else None
    except UserInputError:
        return None


async def events(
    reader: Reader, query: LogQuery, place: TailPlace | None, allowed: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """Yield events until the client goes, or may not read any more; ``place``: where it was, None at the beginning."""
    global _followers  # noqa: PLW0603 - one count for the process
    _followers += 1
    try:
        yield b"retry: 2000\n: following\n\n"
        spoke = time.monotonic()
        while await allowed():
            fresh, place = await _fresh(reader, query, place)
            if len(fresh) > SHOWN_A_LOOK_MAX:
                yield b"event: skipped\ndata: %d\n\n" % (len(fresh) - SHOWN_A_LOOK_MAX)
            for entry, behind in fresh[-SHOWN_A_LOOK_MAX:]:
                yield event(entry, cursor_of(behind, query))
            if fresh:
                spoke = time.monotonic()
            elif time.monotonic() - spoke > _PING_S:
                spoke = time.monotonic()
                # An id without data is no event, and yet what the browser comes back with.
                yield b": still here\nid: %b\n\n" % (cursor_of(place, query).encode() if place else b"")
            await asyncio.sleep(POLL_S)
        yield b"event: over\ndata: the session is over\n\n"
    finally:
        _followers -= 1


async def _fresh(reader: Reader, query: LogQuery, place: TailPlace | None) -> tuple[list[_Told], TailPlace | None]:
    """Return what is new and the places behind each, and how far that comes.

    The first look goes back a little, over what came since the page was made: the page knows what it shows already.
    What does not fit into one look comes with the next, as does what the store cannot say while it is away.
    """
    found: list[_Told] = []
    try:
        if place is None:
            first = await reader.tail_begin(query, WHOLE)
            recent = time.time_ns() - _LOOKBACK_NS
            return [(e, first.place) for e in first.records if e.time_ns >= recent], first.place
        for _ in range(_PAGES_MAX):
            page = await reader.tail_look(query, place, WHOLE)
            found += zip(page.records, page.places, strict=True)
            place = page.place
            if len(page.records) < _PAGE:
                break
    except StoreError:
        pass
    return found, place


def event(entry: LogEntry, place: str) -> bytes:
    """Return one event: JSON in one line, so that nothing a record says can end it; ``place``: the one behind it."""
    data = data_of(entry)
    row = fragment("rows.html", "row", data, here=Here("/logs", {}))
    return b"id: %b\ndata: %b\n\n" % (place.encode(), twin(data | {"row": row}))
