"""One request's body while it arrives: its coding undone, its limits held, its memory charged. Both transports."""

import asyncio
import io
import itertools

from otel_ingest.budget import Lease
from otel_ingest.wire.codings import Decompressor

# A MiB takes 3 ms; then others may run. Bodies take turns: thirty bombs at once cost no more of a moment than one.
_PIECES_A_TURN = 4


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
