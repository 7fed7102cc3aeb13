"""One request of either transport: its headers, its body piece by piece as it is read, charged while it waits.

Each is served by one task, which nobody cancels because its peer goes away: reading and answering raise PeerGoneError
then, and what was whole before is exported to its end.
"""

import asyncio
from collections import deque

from otel_ingest.budget import Lease
from otel_ingest.errors import IngestError

# A peer that does not take its answers for so long does not read.
UNREAD_TIMEOUT_S = 30.0


class PeerGoneError(Exception):
    """The peer gave its request up, or its connection is gone: nobody waits for an answer."""


class Request:
    """What came, and what is still to come. Transports say by ``consumed`` how a peer may send more, and how to answer.

    ``headers``: names in lower case; of a name that came more than once the transport chose one.
    """

    def __init__(self, headers: dict[bytes, bytes], lease: Lease) -> None:
        self.headers = headers
        self.lease = lease
        self.task: asyncio.Task[None] | None = None
        self.waiting_bytes = 0
        """Of the body, not read yet."""
        self._pieces: deque[tuple[bytes, int]] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of the body is here: reading it waits for nobody."""
        return self._ended

    def consumed(self, flow: int) -> None:
        """Let the peer send more: ``flow`` bytes of its window were used up."""

    def text(self, name: bytes) -> str | None:
        """Return a header."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def read(self) -> bytes | None:
        """Return the next bytes of the body, uncharged again; None at its end.

        Raises PeerGoneError, or Overloaded where the budget had no room for what came.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            await self._changed()
        data = self._pop()
        self.lease.refund(len(data))
        return data

    def take_whole(self) -> bytes | None:
        """Return the body, still charged, if it is here in one piece and unread, as that of a small request is."""
        return self._pop() if self._ended and len(self._pieces) == 1 else None

    async def gone(self) -> None:
        """Return when the peer is; for who has read the body."""
        while not isinstance(self._error, PeerGoneError):
            await self._changed()

    def feed(self, data: bytes, flow: int) -> None:
        """Take bytes from the connection."""
        if self._error is None and data:
            try:
                self.lease.charge(len(data))
            except IngestError as error:
                self.fail(error)
        if self._error is not None or not data:
            self.consumed(flow)
            return
        self._pieces.append((data, flow))
        self.waiting_bytes += len(data)
        self.wake()

    def end(self) -> None:
        """Take note that the body is whole."""
        self._ended = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """End reading and answering with ``error``, dropping what was not consumed."""
        self._error = error
        while self._pieces:
            self.lease.refund(len(self._pop()))
        self.wake()

    def wake(self) -> None:
        """Look again at what is waited for."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pop(self) -> bytes:
        data, flow = self._pieces.popleft()
        self.waiting_bytes -= len(data)
        self.consumed(flow)
        return data

    async def _changed(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
