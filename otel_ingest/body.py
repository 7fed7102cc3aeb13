"""One request's body while it arrives: its coding undone, its limits held, its memory charged. Both transports."""

import asyncio
import io
import itertools
from collections.abc import Awaitable

from otel_ingest import errors
from otel_ingest.budget import Lease
from otel_ingest.request import Request
from otel_ingest.wire.codings import Decompressor

# A MiB takes 3 ms; then others may run. Bodies take turns: thirty bombs at once cost no more of a moment than one.
_PIECES_A_TURN = 4


async def in_time(request: Request, reading: Awaitable[bytes], limit_s: float) -> bytes:
    """Return what ``reading`` reads of a request. Raises SenderTooSlow when its body is not whole in time."""
    if request.is_whole:
        return await reading
    try:
        async with asyncio.timeout(limit_s):
            return await reading
    except TimeoutError as error:
        raise errors.SenderTooSlow(f"the body was not whole after {limit_s:g} s") from error


async def read_body(request: Request, coding: str, limit_bytes: int) -> bytes:
    """Return the decompressed body of a request. Raises what ``Body`` raises, and PeerGoneError."""
    if coding == "identity" and request.waiting_bytes <= limit_bytes and (whole := request.take_whole()) is not None:
        return whole
    body = Body(coding, limit_bytes, request.lease)
    while (piece := await request.read()) is not None:
        await body.feed(piece)
    return body.finish()


class Body:
    """Collects one body. Raises what Decompressor raises, and Overloaded where the budget has no room for it."""

    def __init__(self, coding: str, limit_bytes: int, lease: Lease) -> None:
        self._decompressor = Decompressor(coding, limit_bytes)
        self._lease = lease
        self._first = b""
        self._rest: io.BytesIO | None = None

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes as they were sent; returns when they are decompressed and charged."""
        pieces = self._decompressor.feed(chunk)
        if self._decompressor.is_identity:
            for piece in pieces:
                self._take(piece)
            return
        more = True
        while more:
            async with self._lease.decompressing:
                taken = 0
                for piece in itertools.islice(pieces, _PIECES_A_TURN):
                    self._take(piece)
                    taken += 1
            more = taken == _PIECES_A_TURN
            if more:
                await asyncio.sleep(0)

    def finish(self) -> bytes:
        """Return the whole body. Raises MalformedRequest when its coding ends too early."""
        self._decompressor.finish()
        # getvalue of a BytesIO that is used no more hands out its buffer: joining pieces would hold all of it twice.
        return self._first if self._rest is None else self._rest.getvalue()

    def _take(self, piece: bytes) -> None:
        self._lease.charge(len(piece))
        if self._rest is None and not self._first:
            self._first = piece
            return
        if self._rest is None:
            self._rest = io.BytesIO()
            self._rest.write(self._first)
            self._first = b""
        self._rest.write(piece)
