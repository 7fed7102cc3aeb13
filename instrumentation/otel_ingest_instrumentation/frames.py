"""A spool file: a magic line, then frames of one batch each, checksummed; a frame that was sent is marked in place."""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from otel_ingest_instrumentation.outcome import Batch

MAGIC = b"otel-ingest spool 1\n"
_HEAD = struct.Struct("<cIII")  # state, bytes of the description, bytes of the body, CRC-32 of both
PENDING, SENT = b"P", b"S"
FRAME_BYTES_MAX = 256 << 20  # a length past this is damage, not a batch


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a pending batch stands, and what it says of itself."""

    offset: int
    end: int
    description: dict[str, object]
    compressed: bytes

    @property
    def count(self) -> int:
        """Records in it."""
        return int(str(self.description["count"]))

    def batch(self) -> Batch:
        """Return the batch as it was."""
        d = self.description
        return Batch(
            str(d["id"]),
            str(d["signal"]),
            self.count,
            int(str(d["first"])),
            int(str(d["last"])),
            zlib.decompress(self.compressed),
        )


def encode(batch: Batch) -> bytes:
    """Return a frame, pending."""
    description = json.dumps(
        {"id": batch.id, "signal": batch.signal, "count": batch.count, "first": batch.first, "last": batch.last}
    ).encode()
    body = zlib.compress(batch.body, 1)
    return _HEAD.pack(PENDING, len(description), len(body), zlib.crc32(description + body)) + description + body


def pending(fd: int, offset: int = len(MAGIC)) -> Iterator[Frame]:
    """Yield the pending frames from ``offset`` on; ends at the first that is cut short or damaged."""
    size = os.fstat(fd).st_size
    while offset + _HEAD.size <= size:
        state, head, body, checksum = _HEAD.unpack(os.pread(fd, _HEAD.size, offset))
        end = offset + _HEAD.size + head + body
        if state not in (PENDING, SENT) or head + body > FRAME_BYTES_MAX or end > size:
            return
        if state == PENDING:
            content = os.pread(fd, head + body, offset + _HEAD.size)
            if zlib.crc32(content) != checksum:
                return
            yield Frame(offset, end, json.loads(content[:head]), content[head:])
        offset = end


def mark_sent(fd: int, offset: int) -> None:
    """Mark a frame, so that nobody sends it again."""
    os.pwrite(fd, SENT, offset)
