"""The append-only log of one directory, on a ``Disk``. Not for several threads at once; the spool has one for it.

What ``append`` returned from is on the disk, and is found again after any crash. What it refused is never found again
once a later append has returned: after a write or an fsync that failed nothing more is written to that segment, and
the header of the next one says how much of it is valid (after a failed fsync the kernel forgets what it could not
write; another fsync that succeeds would prove nothing).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from otel_ingest.spool.disk import Disk
from otel_ingest.spool.format import (
    Contents,
    Damage,
    Frame,
    SegmentName,
    SpooledRequest,
    contents_of,
    encode_frame,
    encode_header,
    encode_seal,
    frames,
    merged,
    parse_name,
    read_header,
    read_seal,
)

_log = structlog.get_logger(__name__)

# Removed as a whole once it is in PostgreSQL: small enough that little is replayed twice after a crash.
SEGMENT_BYTES = 16 * 1024 * 1024
# Room for the seal and the head of a frame, so that a bound holds for files as they are.
_SLACK_BYTES = 1024
# A header names each of them; a disk that fails this often is broken.
_VOIDS_MAX = 1_000
SET_ASIDE_SUFFIX = ".damaged"
_EMPTY = Contents(0, {}, 0)


class SpoolError(Exception):
    """Nothing of this was spooled; the text is a sentence for the sender."""


class SpoolFullError(SpoolError):
    """The spool is at its bound."""


@dataclass(slots=True)
class Segment:
    """One file: frames from ``begin`` to ``length`` are valid; ``contents`` is what they come to."""

    name: SegmentName
    begin: int
    length: int
    contents: Contents = _EMPTY
    sealed: bool = False


class SegmentLog:
    """Segments in the order of their numbers; the last one may be open for appending."""

    def __init__(self, disk: Disk, *, bytes_max: int, new_id: Callable[[], bytes], clock_ns: Callable[[], int]) -> None:
        self._disk = disk
        self._bytes_max = bytes_max
        self._new_id = new_id
        self._clock_ns = clock_ns
        self._segments: list[Segment] = []
        self._open: Segment | None = None
        self._handle = -1
        self._number = 0
        self._voids: dict[int, int] = {}
        self.set_aside_bytes = 0

    @property
    def segments(self) -> Sequence[Segment]:
        """All segments, the oldest first."""
        return self._segments

    @property
    def closed(self) -> list[Segment]:
        """The segments that nothing is appended to any more, the oldest first."""
        return [s for s in self._segments if s is not self._open]

    @property
    def used_bytes(self) -> int:
        """What all files weigh, those that were set aside too."""
        return sum(s.length for s in self._segments) + self.set_aside_bytes

    @property
    def contents(self) -> Contents:
        """What is at rest in all segments."""
        total = _EMPTY
        for segment in self._segments:
            total = merged(total, segment.contents)
        return total

    def recover(self) -> None:
        """Find what is there. Segments of a former process are read and removed, never written to again."""
        names = sorted((n for n in map(parse_name, self._disk.names()) if n), key=lambda n: n.number)
        headers = {}
        for name in names:
            with self._disk.reading(str(name)) as read:
                headers[name], voids = read_header(read)
            self._voids |= voids
        self._voids = {number: self._voids[number] for number in {n.number for n in names} & set(self._voids)}
        self._segments = [self._recovered(name, headers[name]) for name in names]
        self._number = max((n.number for n in names), default=0)
        aside = [n for n in self._disk.names() if n.endswith(SET_ASIDE_SUFFIX)]
        self.set_aside_bytes = sum(self._disk.size(n) for n in aside)

    def _recovered(self, name: SegmentName, begin: int) -> Segment:
        size = self._disk.size(str(name))
        length = min(size, self._voids.get(name.number, size))
        with self._disk.reading(str(name)) as read:
            seal = read_seal(read, name.id, length)
            if seal is not None:
                return Segment(name, begin, length, seal, sealed=True)
            found = _EMPTY
            for item in frames(read, name.id, begin, length):
                if isinstance(item, Frame):
                    found = merged(found, contents_of([item.request]))
        return Segment(name, begin, length, found)

    def append(self, requests: Sequence[SpooledRequest]) -> None:
        """Write requests; they are on the disk when this returns.

        Raises SpoolFullError and SpoolError (the disk refused): then none of them is in the spool.
        """
        added = sum(len(r.body) + _SLACK_BYTES for r in requests)
        if self.used_bytes + added > self._bytes_max:
            raise SpoolFullError(f"the spool is full ({self.used_bytes} of {self._bytes_max} bytes)")
        segment = self._open or self._begin()
        pieces: list[bytes] = []
        offset = segment.length
        for request in requests:
            head, body = encode_frame(segment.name.id, offset, request)
            pieces += [head, body]
            offset += len(head) + len(body)
        self._write(segment, pieces)
        segment.length = offset
        segment.contents = merged(segment.contents, contents_of(requests))
        if segment.length >= SEGMENT_BYTES:
            self.seal()

    def seal(self) -> None:
        """Close the segment that is open, so that it can be read and removed."""
        segment = self._open
        if segment is None:
            return
        seal = encode_seal(segment.name.id, segment.length, segment.contents)
        with contextlib.suppress(SpoolError):  # it is complete without one; only slower to count
            self._write(segment, [seal])
            segment.length += len(seal)
            segment.sealed = True
        self._close()

    def read(self, segment: Segment) -> Iterator[Frame | Damage]:
        """Yield what is in a segment, in the order of appending. Raises OSError."""
        with self._disk.reading(str(segment.name)) as read:
            yield from frames(read, segment.name.id, segment.begin, segment.length)

    def settled(self, segment: Segment, request: SpooledRequest) -> None:
        """Count a request of a segment as at rest no longer; requests are settled in order."""
        left = dict(segment.contents.records)
        left[request.signal] = left.get(request.signal, 0) - request.records
        segment.contents = Contents(segment.contents.requests - 1, left, request.received_ns)

    def remove(self, segment: Segment) -> None:
        """Remove a segment that is in PostgreSQL; it stays removed after a crash. Raises OSError."""
        if segment is self._open:
            self._close()
        self._disk.unlink(str(segment.name))
        self._segments.remove(segment)
        self._disk.sync_directory()
        self._voids.pop(segment.name.number, None)

    def set_aside(self, segment: Segment, offset: int, length: int) -> str:
        """Copy bytes that are no request, or one that cannot be stored, to a file beside; return its name.

        Raises OSError: then nothing was set aside.
        """
        name = f"{segment.name}.{offset}{SET_ASIDE_SUFFIX}"
        if name in self._disk.names():  # of a former try
            self.set_aside_bytes -= self._disk.size(name)
            self._disk.unlink(name)
        handle = self._disk.create(name)
        try:
            with self._disk.reading(str(segment.name)) as read:
                self._disk.append(handle, [read(offset, length)])
            self._disk.sync(handle)
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.unlink(name)
            raise
        finally:
            self._disk.close(handle)
        self._disk.sync_directory()
        self.set_aside_bytes += length
        return name

    def _begin(self) -> Segment:
        """Make a segment whose name is on the disk. Raises SpoolError."""
        if len(self._voids) > _VOIDS_MAX:
            raise SpoolError("the disk of the spool failed too often; it needs somebody's eyes")
        self._number += 1
        name = SegmentName(self._number, self._new_id())
        header = encode_header(name, self._clock_ns(), self._voids)
        handle = -1
        try:
            handle = self._disk.create(str(name))
            # The header lasts with the first append's fsync, before anything is acknowledged.
            self._disk.append(handle, [header])
            self._disk.sync_directory()
        except OSError as error:
            if handle >= 0:
                self._disk.close(handle)
                # Nothing was ever in it; should it stay, it is an empty segment.
                with contextlib.suppress(OSError):
                    self._disk.unlink(str(name))
            raise SpoolError(_sentence(error)) from error
        self._handle = handle
        self._open = Segment(name, len(header), len(header))
        self._segments.append(self._open)
        return self._open

    def _write(self, segment: Segment, pieces: list[bytes]) -> None:
        """Append and sync. Raises SpoolError, and then nothing of it counts, now or after a crash."""
        try:
            self._disk.append(self._handle, pieces)
        except OSError as error:
            # No fsync has failed yet: the next one makes the cut last with what is appended then.
            try:
                self._disk.truncate(self._handle, segment.length)
            except OSError:
                self._abandon(segment)
            raise SpoolError(_sentence(error)) from error
        try:
            self._disk.sync(self._handle)
        except OSError as error:
            self._abandon(segment)
            raise SpoolError(_sentence(error)) from error

    def _abandon(self, segment: Segment) -> None:
        """Never write to this segment again; the next one's header will say how much of it is valid."""
        self._voids[segment.name.number] = segment.length
        with contextlib.suppress(OSError):
            self._disk.truncate(self._handle, segment.length)
        self._close()
        _log.error("a segment of the spool was abandoned after the disk refused", segment=str(segment.name))

    def _close(self) -> None:
        self._open = None
        with contextlib.suppress(OSError):
            self._disk.close(self._handle)
        self._handle = -1


def _sentence(error: OSError) -> str:
    return f"the disk of the spool refused: {error.strerror or error}"
