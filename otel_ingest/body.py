"""One request's body while it arrives: its coding undone, its limits held, its memory charged. Both transports."""

import asyncio
import io

from otel_ingest.budget import Lease
from otel_ingest.wire.codings import Decompressor

# Some 4 MiB of decompressing take 10 ms; then others may run.
_PIECES_A_TURN = 16


class Body:
    """Collects one body. Raises what Decompressor raises, and Overloaded where the budget has no room for it."""

    def __init__(self, coding: str, limit_bytes: int, lease: Lease) -> None:
        self._decompressor = Decompressor(coding, limit_bytes)
        self._lease = lease
        self._first = b""
        self._rest: io.BytesIO | None = None
        self._pieces = 0

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes as they were sent; returns when they are decompressed and charged."""
        for piece in self._decompressor.feed(chunk):
            self._lease.charge(len(piece))
            self._add(piece)
            self._pieces += 1
            if self._pieces % _PIECES_A_TURN == 0:
                await asyncio.sleep(0)

    def finish(self) -> bytes:
        """Return the whole body. Raises MalformedRequest when its coding ends too early."""
        self._decompressor.finish()
        # getvalue of a BytesIO that is used no more hands out its buffer: joining pieces would hold all of it twice.
        return self._first if self._rest is None else self._rest.getvalue()

    def _add(self, piece: bytes) -> None:
        if self._rest is None and not self._first:
            self._first = piece
            return
        if self._rest is None:
            self._rest = io.BytesIO()
            self._rest.write(self._first)
            self._first = b""
        self._rest.write(piece)
