"""/loki/api/v1/tail: a WebSocket that tells what is stored, as it is stored."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import orjson
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mcp_tools.door import DoorError, Verify, refused
from mcp_tools.following import POLL_S, Follower
from mcp_tools.loki import answers
from mcp_tools.loki.given import Given
from mcp_tools.loki.labels import question
from mcp_tools.loki.reading import LogQLError, parse
from mcp_tools.loki.tree import Lines
from storage.errors import StoreError
from storage.filters import LogQuery
from storage.reader import Reader
from storage.views import LogEntry

TAILS_MAX = 50  # each asks the store twice a second
_LINES_MAX = 1_000
_LINES_DEFAULT = 100
_HOUR_NS = 3_600 * 1_000_000_000


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
            given = Given(socket.query_params.multi_items())
            query = None if refusal else await self._query(given)
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
        telling = asyncio.create_task(self._tell(socket, query, given))
        try:
            await asyncio.wait({leaving, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= 1
            for task in (leaving, telling):
                task.cancel()
            await asyncio.gather(leaving, telling, return_exceptions=True)
        if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
            await socket.close(1011, "the store is away")

    async def _query(self, given: Given) -> LogQuery | None:
        lines = parse(given.text("query"))
        if not isinstance(lines, Lines):
            raise LogQLError("tail takes a log query, not a metric one")
        limit = min(given.count("limit", _LINES_DEFAULT), _LINES_MAX)
        start = given.time_ns("start")
        found = question(lines, await self._reader.components())
        base = LogQuery(since_ns=start if start is not None else time.time_ns() - _HOUR_NS, limit=max(limit, 1))
        return None if found is None else replace(base, query=found[0], lines=found[1])

    async def _tell(self, socket: WebSocket, query: LogQuery | None, given: Given) -> None:
        """Send what is there since ``start``, then what is stored after it. Returns where the store is away."""
        try:
            first = list(reversed(await self._reader.read_lines(query))) if query is not None else []
            await _send(socket, first)
            follower = Follower(self._reader, first)
            if query is not None:
                await follower.begin(query)
            while True:
                await asyncio.sleep(POLL_S)
                # Components that are new are found as well: what matches is asked for again at each look.
                query = await self._query(given)
                await _send(socket, await follower.fresh(query) if query is not None else [])
        except StoreError:
            return


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
