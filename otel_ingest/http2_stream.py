"""One request of an HTTP/2 connection: its body as it is read, its answer as it is sent."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from otel_ingest.budget import Lease
from otel_ingest.errors import IngestError

HeaderList = Iterable[tuple[bytes, bytes]]

# A peer that does not take its answer for so long does not read.
UNREAD_TIMEOUT_S = 30.0


class PeerGoneError(Exception):
    """The caller cancelled its call, or its connection is gone: nobody waits for an answer."""


class Link(Protocol):
    """What a stream asks of its connection."""

    def consumed(self, stream_id: int, flow: int, *, ended: bool) -> None:
        """Let the peer send as many bytes again; of a body that is whole only for the connection."""

    def window(self, stream_id: int) -> int:
        """Return how many bytes the peer will take now. Raises PeerGoneError."""

    def answer(self, stream_id: int, headers: HeaderList, body: bytes, trailers: HeaderList, *, reset: bool) -> None:
        """Send a whole answer; ``reset``: the body is not wanted any more. Raises PeerGoneError."""


class Stream:
    """One request and its answer."""

    def __init__(self, connection: Link, stream_id: int, headers: HeaderList, lease: Lease) -> None:
        self.headers = {bytes(name): bytes(value) for name, value in headers}
        self.lease = lease
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._id = stream_id
        self._pieces: deque[tuple[bytes, int]] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of the body is here: reading it waits for nobody."""
        return self._ended

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
        data, flow = self._pieces.popleft()
        self.lease.refund(len(data))
        self._connection.consumed(self._id, flow, ended=self._ended)
        return data

    async def respond(self, headers: HeaderList, body: bytes = b"", trailers: HeaderList = ()) -> None:
        """Answer: with ``body`` and ``trailers``, or with ``headers`` alone. Raises PeerGoneError."""
        if body and self._connection.window(self._id) < len(body):
            async with asyncio.timeout(UNREAD_TIMEOUT_S):
                while self._connection.window(self._id) < len(body):
                    if isinstance(self._error, PeerGoneError):
                        raise self._error
                    await self._changed()
        self._connection.answer(self._id, headers, body, trailers, reset=not self._ended)

    def feed(self, data: bytes, flow: int) -> None:
        """Take bytes from the connection."""
        if self._error is None and data:
            try:
                self.lease.charge(len(data))
            except IngestError as error:
                self.fail(error)
        if self._error is not None or not data:
            self._connection.consumed(self._id, flow, ended=self._ended)
            return
        self._pieces.append((data, flow))
        self.wake()

    def end(self) -> None:
        """Take note that the body is whole."""
        self._ended = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """End reading and writing with ``error``, dropping what was not consumed."""
        self._error = error
        for data, flow in self._pieces:
            self.lease.refund(len(data))
            self._connection.consumed(self._id, flow, ended=self._ended)
        self._pieces.clear()
        self.wake()

    def wake(self) -> None:
        """Look again at what is waited for."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _changed(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
