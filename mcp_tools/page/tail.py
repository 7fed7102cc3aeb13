"""What arrives while one looks: server-sent events, one a record, as JSON and as the row the page shows."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from mcp_tools.page.question import question
from mcp_tools.page.records import data_of
from mcp_tools.page.session import Sessions
from mcp_tools.page.shell import fragment, twin
from mcp_tools.page.state import Here
from mcp_tools.page.visit import Visit
from storage.errors import StoreError
from storage.filters import LogQuery
from storage.views import LogEntry

POLL_S = 0.5
"""Seconds between looks: within a second after it happened."""
SHOWN_A_LOOK_MAX = 100
"""Past it the oldest of a look are counted and not shown: nobody reads 200 lines a second."""
FOLLOWERS_MAX = 32
"""Tails at the same time; each is a question to the store every POLL_S."""
_LOOKBACK_NS = 60 * 1_000_000_000
_PAGE, _PAGES_MAX = 1_000, 5
# Ids are given out before COMMIT: this many below the highest seen may still become visible.
_OVERLAP_IDS = 1_000
_PING_S = 15.0
_followers = 0


async def stream(visit: Visit, request: Request, sessions: Sessions) -> Response:
    """Return an endless answer of events; a revoked token or a session that ended ends it. Raises UserInputError."""
    if _followers >= FOLLOWERS_MAX:
        busy = f"{FOLLOWERS_MAX} tails are being followed already; try again later\n"
        return PlainTextResponse(busy, 503, {"Retry-After": "10"})
    asked = replace(question(visit).query, until_ns=None, limit=_PAGE)
    after = request.headers.get("last-event-id", "")
    known = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else None  # noqa: PLR2004

    async def allowed() -> bool:
        visitor = await sessions.visitor(request)
        return visitor is not None and visitor.may("read")

    events = _events(visit, asked, known, allowed)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(
    visit: Visit, query: LogQuery, after_id: int | None, allowed: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """Yield events until the reader goes, or may not read any more.

    The first look goes back a little, over what came since the page was made: the page knows what it shows already.
    """
    global _followers  # noqa: PLW0603 - one count for the process
    _followers += 1
    try:
        seen: set[int] = set()
        if after_id is None:
            newest = await visit.reader.find_logs(LogQuery(limit=1))
            after_id = newest.items[0].id if newest.items else 0
        yield b"retry: 2000\n: following\n\n"
        spoke = time.monotonic()
        while await allowed():
            fresh = await _look(visit, query, after_id, seen)
            for entry in fresh[-SHOWN_A_LOOK_MAX:]:
                yield event(entry)
            if len(fresh) > SHOWN_A_LOOK_MAX:
                yield b"event: skipped\ndata: %d\n\n" % (len(fresh) - SHOWN_A_LOOK_MAX)
            after_id = max([after_id, *(e.id for e in fresh)])
            seen = {i for i in seen if i > after_id - 2 * _OVERLAP_IDS} | {e.id for e in fresh}
            if fresh:
                spoke = time.monotonic()
            elif time.monotonic() - spoke > _PING_S:
                spoke = time.monotonic()
                yield b": still here\n\n"
            await asyncio.sleep(POLL_S)
        yield b"event: over\ndata: the session is over\n\n"
    finally:
        _followers -= 1


async def _look(visit: Visit, query: LogQuery, after_id: int, seen: set[int]) -> list[LogEntry]:
    """Return what is new, in the order of storing; what does not fit into one look comes with the next."""
    recent = replace(query, since_ns=time.time_ns() - _LOOKBACK_NS)
    found: list[LogEntry] = []
    place = max(0, after_id - _OVERLAP_IDS)
    for _ in range(_PAGES_MAX):
        try:
            page = await visit.reader.tail_logs(recent, place)
        except StoreError:  # it comes back, and what was stored meanwhile is told then
            break
        found += [entry for entry in page if entry.id not in seen]
        if len(page) < _PAGE:
            break
        place = page[-1].id
    return found


def event(entry: LogEntry) -> bytes:
    """Return one event: JSON in one line, so that nothing a record says can end it."""
    data = data_of(entry)
    row = fragment("rows.html", "row", data, here=Here("/logs", {}))
    return b"id: %d\ndata: %b\n\n" % (entry.id, twin(data | {"row": row}))
