"""/loki/api/v1/tail: a WebSocket that tells what is stored, as it is stored."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mcp_tools.door import DoorError, Verify, refused
from mcp_tools.loki import answers
from mcp_tools.loki.given import Given
from mcp_tools.loki.labels import question
from mcp_tools.loki.reading import LogQLError, parse
from mcp_tools.loki.tree import Lines
from storage.errors import StoreError
from storage.filters import LogQuery
from storage.reader import Reader
from storage.reading.tail import WHOLE, TailPage, TailPlace
from storage.views import LogEntry

TAILS_MAX = 50  # each asks the store twice a second
POLL_S = 0.5
"""Seconds between looks: within a second after it happened."""
_LINES_MAX = 1_000
_LINES_DEFAULT = 100
_HOUR_NS = 3_600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one client follows: its selector and filters, from when on (ns), and how many records at once."""

    lines: Lines
    since_ns: int
    limit: int


def _asked(given: Given) -> _Asked:
    """Return what the parameters ask. Raises DoorError, LogQLError."""
    lines = parse(given.text("query"))
    if not isinstance(lines, Lines):
        raise LogQLError("tail takes a log query, not a metric one")
    limit = min(given.count("limit", _LINES_DEFAULT), _LINES_MAX)
    start = given.time_ns("start")
    return _Asked(lines, start if start is not None else time.time_ns() - _HOUR_NS, max(limit, 1))


class Tail:
    """The tail of one server."""

    def __init__(self, reader: Reader, verify: Verify) -> None:
        self._reader = reader
        self._verify = verify
        self._open = 0

    async def endpoint(self, socket: WebSocket) -> None:
        """Serve one client until it leaves."""
        try:
            refusal = await refused(self._verify, socket.headers.get("authorization"))
            if refusal is None and self._open >= TAILS_MAX:
                refusal = 429, f"{TAILS_MAX} tails are open; one of them has to end first"
            if refusal is None:
                asked = _asked(Given(socket.query_params.multi_items()))
                await self._query(asked)
        except (DoorError, LogQLError) as error:
            refusal = 400, str(error)
        except StoreError as error:
            refusal = 503, str(error)
        if refusal is not None:
            await socket.send_denial_response(PlainTextResponse(f"{refusal[1]}\n", refusal[0]))
            return
        await socket.accept()
        self._open += 1
        leaving = asyncio.create_task(_left(socket))
        telling = asyncio.create_task(self._tell(socket, asked))
        try:
            await asyncio.wait({leaving, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= 1
            for task in (leaving, telling):
                task.cancel()
            await asyncio.gather(leaving, telling, return_exceptions=True)
        if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
            await socket.close(1011, "the store is away")

    async def _tell(self, socket: WebSocket, asked: _Asked) -> None:
        """Send what is there since ``start``, then what is stored after it. Returns where the store is away."""
        try:
            query = await self._query(asked)
            page, query = await self._settled(asked, query, None)
            while True:
                await _send(socket, page.records)
                if len(page.records) < asked.limit:
                    await asyncio.sleep(POLL_S)
                page, query = await self._settled(asked, query, page.place)
        except (StoreError, LogQLError):
            return

    async def _settled(
        self, asked: _Asked, query: LogQuery, place: TailPlace | None
    ) -> tuple[TailPage[LogEntry], LogQuery]:
        """Return what came since ``place`` (None: the newest), and the question it is an answer to.

        A selector names components, and new ones come with their first records: where it means others by now than
        before, what was seen may lack these, so the same look is taken again.
        """
        while True:
            if place is None:
                page = await self._reader.tail_begin(query, WHOLE)
            else:
                page = await self._reader.tail_look(query, place, WHOLE)
            meant = await self._query(asked)
            if meant == query:
                return page, query
            query = meant

    async def _query(self, asked: _Asked) -> LogQuery:
        found = question(asked.lines, await self._reader.components())
        base = LogQuery(since_ns=asked.since_ns, limit=asked.limit)
        # Before 1970 nothing is: how far it comes is told all the same.
        return replace(base, until_ns=0) if found is None else replace(base, query=found[0], lines=found[1])


async def _send(socket: WebSocket, entries: Sequence[LogEntry]) -> None:
    if entries:
        told = {"streams": answers.streams(entries), "dropped_entries": []}
        await socket.send_text(orjson.dumps(told).decode())


async def _left(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, KeyError):
        return
