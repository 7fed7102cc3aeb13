"""PURE: the bytes of a segment. A header, then frames one behind the other, and a seal once it is complete.

The file's name holds the version, the segment's number (the order) and its random id, so that a damaged header costs
nothing. Each frame begins with 8 bytes of that id: after damage the next frame is found by them, and no sender can
write them into a body. Checksums cover the place of a frame too: bytes that are elsewhere than they were written do
not pass.

    frame = marker 8 | head CRC-32 | body CRC-32 | body bytes u32 | meta bytes u16 | meta (JSON) | body
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

VERSION = 1
ID_BYTES = 16
_MARKER_BYTES = 8
_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})\.v(\d+)\.spool")
_MAGIC = b"OTISPOOL"
_HEADER = struct.Struct("<8sII")
_FRAME = struct.Struct("<8sIIIH")
_FRAME_REST = struct.Struct("<IIH")
_OFFSET = struct.Struct("<Q")
# Enough for the largest header and the largest seal; both are found within it.
_SMALL_BYTES = 64 * 1024
_SEARCH_BYTES = 256 * 1024

Read = Callable[[int, int], bytes]
"""Takes offset and length; returns that many bytes, fewer at the end of the file."""


class UnknownVersionError(Exception):
    """A segment that a newer release wrote."""


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What a segment's file name says."""

    number: int
    id: bytes

    def __str__(self) -> str:
        return f"{self.number:012d}-{self.id.hex()}.v{VERSION}.spool"


@dataclass(frozen=True, slots=True)
class SpooledRequest:
    """One acknowledged request: its bytes as decompressed, and what is needed to store it as if it came now.

    ``received_ns`` is the receipt: records without a time get that one. ``records`` were accepted of it, the others
    were already reported to the sender. ``batch_id`` is what the sender calls the request; ``attempts`` name the
    PostgreSQL transactions whose COMMIT had no answer.
    """

    signal: str
    encoding: str
    received_ns: int
    records: int
    body: bytes
    batch_id: str = ""
    attempts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """A request as found in a segment: at ``offset``, ``length`` bytes with its frame."""

    offset: int
    length: int
    request: SpooledRequest


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no whole frame. ``at_end``: nothing valid follows, as after a write that was cut off."""

    offset: int
    length: int
    at_end: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """What a segment holds: requests, records by signal, receipt of the oldest (0: it is empty)."""

    requests: int
    records: dict[str, int]
    oldest_ns: int


def parse_name(name: str) -> SegmentName | None:
    """Return what a file name says; None when it is no segment. Raises UnknownVersionError."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if int(match[3]) != VERSION:
        raise UnknownVersionError(f"{name} was written by another release; this one reads version {VERSION}")
    return SegmentName(int(match[1]), bytes.fromhex(match[2]))


def encode_header(name: SegmentName, created_ns: int, voids: dict[int, int]) -> bytes:
    """Return a segment's first bytes; ``voids``: {number of an earlier segment: bytes of it that are valid}."""
    content = orjson.dumps(
        {"number": name.number, "id": name.id.hex(), "created_ns": created_ns, "voids": list(voids.items())}
    )
    return _HEADER.pack(_MAGIC, zlib.crc32(content), len(content)) + content


def read_header(read: Read) -> tuple[int, dict[int, int]]:
    """Return where the frames begin, and the voids; (0, {}) for a damaged header: the first frame is searched."""
    data = read(0, _SMALL_BYTES)
    try:
        magic, checksum, length = _HEADER.unpack_from(data)
    except struct.error:
        return 0, {}
    content = data[_HEADER.size : _HEADER.size + length]
    if magic != _MAGIC or len(content) != length or zlib.crc32(content) != checksum:
        return 0, {}
    voids = {int(number): int(valid) for number, valid in orjson.loads(content)["voids"]}
    return _HEADER.size + length, voids


def encode_frame(segment_id: bytes, offset: int, request: SpooledRequest) -> tuple[bytes, bytes]:
    """Return the frame of a request that will stand at ``offset``: its head, and the body as it is."""
    meta: dict[str, Any] = {"s": request.signal, "e": request.encoding, "t": request.received_ns, "n": request.records}
    if request.batch_id:
        meta["b"] = request.batch_id
    if request.attempts:
        meta["x"] = list(request.attempts)
    return _frame_head(segment_id, offset, meta, request.body), request.body


def encode_seal(segment_id: bytes, offset: int, contents: Contents) -> bytes:
    """Return the frame that closes a complete segment and says what is in it."""
    meta = {"seal": [contents.requests, contents.records, contents.oldest_ns]}
    return _frame_head(segment_id, offset, meta, b"")


def read_seal(read: Read, segment_id: bytes, size: int) -> Contents | None:
    """Return what the seal at the end of a segment of ``size`` bytes says; None when there is none."""
    begin = max(0, size - _SMALL_BYTES)
    data = read(begin, size - begin)
    at = data.rfind(segment_id[:_MARKER_BYTES])
    if at < 0:
        return None
    head = _head(read, segment_id, begin + at, size)
    if head is None or head.end != size or "seal" not in head.meta:
        return None
    requests, records, oldest_ns = head.meta["seal"]
    return Contents(requests, records, oldest_ns)


def frames(read: Read, segment_id: bytes, begin: int, end: int) -> Iterator[Frame | Damage]:
    """Yield the requests between two offsets in their order, each checked; what is damaged is named and passed over."""
    position = begin
    while position < end:
        head = _head(read, segment_id, position, end)
        if head is None:
            following = _next_head(read, segment_id, position + 1, end)
            yield Damage(position, following - position, at_end=following == end)
            position = following
            continue
        body = read(head.body_at, head.body_bytes)
        if len(body) != head.body_bytes or zlib.crc32(body) != head.body_checksum:
            yield Damage(position, head.end - position, at_end=head.end >= end)
        elif "seal" not in head.meta:
            yield Frame(position, head.end - position, _request(head.meta, body))
        position = head.end


def contents_of(requests: Sequence[SpooledRequest]) -> Contents:
    """Return what these requests come to."""
    records: dict[str, int] = {}
    for request in requests:
        records[request.signal] = records.get(request.signal, 0) + request.records
    return Contents(len(requests), records, min((r.received_ns for r in requests), default=0))


def merged(one: Contents, other: Contents) -> Contents:
    """Return both together."""
    records = dict(one.records)
    for signal, count in other.records.items():
        records[signal] = records.get(signal, 0) + count
    oldest = min((t for t in (one.oldest_ns, other.oldest_ns) if t), default=0)
    return Contents(one.requests + other.requests, records, oldest)


@dataclass(frozen=True, slots=True)
class _Head:
    meta: dict[str, Any]
    body_at: int
    body_bytes: int
    body_checksum: int

    @property
    def end(self) -> int:
        return self.body_at + self.body_bytes


def _frame_head(segment_id: bytes, offset: int, meta: dict[str, Any], body: bytes) -> bytes:
    encoded = orjson.dumps(meta)
    rest = _FRAME_REST.pack(zlib.crc32(body), len(body), len(encoded))
    return segment_id[:_MARKER_BYTES] + _head_checksum(segment_id, offset, rest, encoded) + rest + encoded


def _head_checksum(segment_id: bytes, offset: int, rest: bytes, meta: bytes) -> bytes:
    place = zlib.crc32(segment_id + _OFFSET.pack(offset))
    return zlib.crc32(meta, zlib.crc32(rest, place)).to_bytes(4, "little")


def _head(read: Read, segment_id: bytes, position: int, end: int) -> _Head | None:
    """Return the head of the frame at ``position`` when it is whole and of this place."""
    data = read(position, min(_FRAME.size, end - position))
    if len(data) < _FRAME.size:
        return None
    marker, _, body_checksum, body_bytes, meta_bytes = _FRAME.unpack(data)
    if marker != segment_id[:_MARKER_BYTES]:
        return None
    meta_at = position + _FRAME.size
    encoded = read(meta_at, min(meta_bytes, end - meta_at))
    rest = data[_MARKER_BYTES + 4 :]
    if len(encoded) != meta_bytes or _head_checksum(segment_id, position, rest, encoded) != data[8:12]:
        return None
    head = _Head(orjson.loads(encoded), meta_at + meta_bytes, body_bytes, body_checksum)
    return head if head.end <= end else None


def _next_head(read: Read, segment_id: bytes, position: int, end: int) -> int:
    """Return where the next whole head is, or ``end``."""
    marker = segment_id[:_MARKER_BYTES]
    while position < end:
        data = read(position, min(_SEARCH_BYTES, end - position))
        at = data.find(marker)
        while at >= 0:
            if _head(read, segment_id, position + at, end) is not None:
                return position + at
            at = data.find(marker, at + 1)
        if len(data) < _SEARCH_BYTES:
            break
        position += _SEARCH_BYTES - len(marker) + 1
    return end


def _request(meta: dict[str, Any], body: bytes) -> SpooledRequest:
    return SpooledRequest(
        signal=meta["s"],
        encoding=meta["e"],
        received_ns=meta["t"],
        records=meta["n"],
        body=body,
        batch_id=meta.get("b", ""),
        attempts=tuple(meta.get("x", ())),
    )
