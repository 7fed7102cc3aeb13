"""One request of an HTTP/2 connection, and its answer as the peer's window lets it through."""

import asyncio
from typing import Protocol

from otel_ingest.budget import Lease
from otel_ingest.http2_headers import Headers
from otel_ingest.request import UNREAD_TIMEOUT_S, PeerGoneError, Request


class Link(Protocol):
    """What a stream asks of its connection."""

    def consumed(self, stream_id: int, flow: int, *, ended: bool) -> None:
        """Let the peer send as many bytes again; of a body that is whole only for the connection."""

    def window(self, stream_id: int) -> int:
        """Return how many bytes the peer will take now. Raises PeerGoneError."""

    def answer(self, stream_id: int, headers: Headers, body: bytes, trailers: Headers, *, reset: bool) -> None:
        """Send a whole answer; ``reset``: the body is not wanted any more. Raises PeerGoneError."""


class Stream(Request):
    """One request and its answer."""

    def __init__(self, connection: Link, stream_id: int, headers: dict[bytes, bytes], lease: Lease) -> None:
        super().__init__(headers, lease)
        self._connection = connection
        self._id = stream_id

    def consumed(self, flow: int) -> None:
        """See ``Request``."""
        self._connection.consumed(self._id, flow, ended=self._ended)

    async def respond(self, headers: Headers, body: bytes = b"", trailers: Headers = ()) -> None:
        """Answer: with ``body`` and ``trailers``, or with ``headers`` alone. Raises PeerGoneError."""
        if isinstance(self._error, PeerGoneError):
            raise self._error
        if body and self._connection.window(self._id) < len(body):
            async with asyncio.timeout(UNREAD_TIMEOUT_S):
                while self._connection.window(self._id) < len(body):
                    if isinstance(self._error, PeerGoneError):
                        raise self._error
                    await self._changed()
        self._connection.answer(self._id, headers, body, trailers, reset=not self._ended)
