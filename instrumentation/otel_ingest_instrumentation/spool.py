"""The local spool: what could not be sent, on disk, until this or the next process of the service sends it.

One directory a service, files of one process each, mode 0600, locked while their process lives; whoever gets the lock
of another one's file adopts it. Bounded in bytes and age: past either the oldest file is dropped, and counted.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from otel_ingest_instrumentation import frames
from otel_ingest_instrumentation.outcome import Batch

SEGMENT_BYTES = 4 << 20  # a file's size before the next is begun: what one drop loses at most
_RECOUNT_BYTES = 1 << 20  # written by this process between two looks at the whole directory
_LOCK_S = 5.0  # longest wait for this process's own lock: a signal handler must never hang

Lost = Callable[[str, int, int, int, str], None]  # signal, records, first, last, reason


@dataclass(slots=True)
class Segment:
    """One locked file: whether it is still written to, where reading goes on, and how many frames are pending."""

    path: Path
    fd: int
    writing: bool
    read_at: int
    left: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """A pending batch in the spool."""

    segment: Segment
    frame_at: int


class SpoolError(Exception):
    """The directory cannot be used; the sentence says why."""


class Spool:
    """The files of one service; safe between threads, and after a fork once ``reset_after_fork`` was called."""

    def __init__(self, directory: Path, bytes_max: int, age_max_s: float, lost: Lost, suffix: str = ".spool") -> None:
        """``lost`` is told of every record that is dropped."""
        self._directory = directory
        self._bytes_max = bytes_max
        self._age_max_s = age_max_s
        self._lost = lost
        self._suffix = suffix
        self._lock = threading.RLock()
        self._segments: dict[Path, Segment] = {}
        self._current: Segment | None = None
        self._since_count = _RECOUNT_BYTES
        self._made = 0

    def reset_after_fork(self) -> None:
        """Leave the parent's files to the parent."""
        self._lock = threading.RLock()
        for segment in self._segments.values():
            with suppress(OSError):
                os.close(segment.fd)
        self._segments = {}
        self._current = None

    def append(self, batch: Batch) -> Ticket | None:
        """Write a batch; None where it does not fit or the disk refuses it (nothing is counted as lost then)."""
        frame = frames.encode(batch)
        with self._locked():
            if not self._make_room(len(frame)):
                return None
            try:
                segment = self._writable()
                at = os.fstat(segment.fd).st_size
                self._write(segment, frame, at)
            except OSError as error:
                raise SpoolError(f"cannot write to {self._directory}: {error.strerror or error}") from error
            segment.left += 1
            self._since_count += len(frame)
            if at + len(frame) >= SEGMENT_BYTES:
                self._current = None
                segment.writing = False
            return Ticket(segment, at)

    @staticmethod
    def _write(segment: Segment, frame: bytes, at: int) -> None:
        try:
            written = 0
            while written < len(frame):  # not O_APPEND: Linux would append the marks of sent frames, too
                written += os.pwrite(segment.fd, frame[written:], at + written)
            os.fdatasync(segment.fd) if hasattr(os, "fdatasync") else os.fsync(segment.fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(segment.fd, at)
            raise

    def oldest(self) -> tuple[Ticket, Batch] | None:
        """Return the oldest pending batch of the files this process holds."""
        with self._locked():
            for path in sorted(self._segments):
                segment = self._segments[path]
                for frame in frames.pending(segment.fd, segment.read_at):
                    segment.read_at = frame.offset
                    return Ticket(segment, frame.offset), frame.batch()
                if not segment.writing:
                    self._remove(segment)
        return None

    def done(self, ticket: Ticket) -> None:
        """Mark a batch as sent (or put elsewhere); a file without pending ones goes."""
        with self._locked(), suppress(OSError):
            segment = ticket.segment
            if self._segments.get(segment.path) is not segment:
                return
            frames.mark_sent(segment.fd, ticket.frame_at)
            segment.left -= 1
            if segment.left <= 0 and not segment.writing:
                self._remove(segment)

    def close(self) -> None:
        """Give up what this process holds: empty files go, the others wait for the next process."""
        with self._locked():
            for segment in list(self._segments.values()):
                segment.writing = False
                if segment.left <= 0:
                    self._remove(segment)
                else:
                    os.close(segment.fd)
                    del self._segments[segment.path]
            self._current = None

    def adopt(self) -> int:
        """Take over the files whose process is gone, drop what is too old; return the number of files taken."""
        taken = 0
        with self._locked():
            for path in self._files():
                if path in self._segments:
                    continue
                segment = self._take(path)
                if segment is None:
                    continue
                if time.time() - path.stat().st_mtime > self._age_max_s:
                    self._drop(segment, "it was older than the spool keeps")
                elif segment.left == 0:
                    self._remove(segment)
                else:
                    taken += 1
        return taken

    def pending_bytes(self) -> int:
        """Return the bytes of all files of this service."""
        return sum(self._size(path) for path in self._files())

    def holds(self) -> bool:
        """Return whether this process holds a pending batch."""
        return any(s.left > 0 for s in list(self._segments.values()))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_LOCK_S):
            raise SpoolError("the spool is busy")
        try:
            yield
        finally:
            self._lock.release()

    def _files(self) -> list[Path]:
        try:
            return sorted(p for p in self._directory.iterdir() if p.suffix == self._suffix)
        except OSError:
            return []

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0

    def _writable(self) -> Segment:
        if self._current is not None and self._current.path.exists():
            return self._current
        self._own_directory()
        self._made += 1
        path = self._directory / f"{int(time.time() * 1000):013d}-{os.getpid()}-{self._made}{self._suffix}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(fd, frames.MAGIC)
        self._current = Segment(path, fd, writing=True, read_at=len(frames.MAGIC), left=0)
        self._segments[path] = self._current
        return self._current

    def _own_directory(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = self._directory.stat()
        if info.st_uid != os.geteuid() or info.st_mode & 0o077:
            raise SpoolError(f"{self._directory} is not a directory of this user alone (mode 0700)")

    def _take(self, path: Path) -> Segment | None:
        """Lock a file of a process that is gone."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            info = os.fstat(fd)
            if info.st_nlink == 0 or info.st_uid != os.geteuid() or os.pread(fd, len(frames.MAGIC), 0) != frames.MAGIC:
                raise OSError  # noqa: TRY301  # sent meanwhile by its former owner, or not one of ours
            left = sum(1 for _ in frames.pending(fd))
        except OSError:
            os.close(fd)
            return None
        segment = Segment(path, fd, writing=False, read_at=len(frames.MAGIC), left=left)
        self._segments[path] = segment
        return segment

    def _make_room(self, needed: int) -> bool:
        if self._since_count < _RECOUNT_BYTES and needed <= _RECOUNT_BYTES:
            return True
        self._since_count = 0
        while self.pending_bytes() + needed > self._bytes_max:
            victim = next((s for p in self._files() if (s := self._segments.get(p) or self._take(p)) is not None), None)
            if victim is None:
                return False
            if victim is self._current:
                self._current = None
            self._drop(victim, "the spool was full")
        return True

    def _drop(self, segment: Segment, reason: str) -> None:
        for frame in frames.pending(segment.fd):
            d = frame.description
            self._lost(str(d["signal"]), frame.count, int(str(d["first"])), int(str(d["last"])), reason)
        self._remove(segment)

    def _remove(self, segment: Segment) -> None:
        with suppress(OSError):
            segment.path.unlink()
        with suppress(OSError):
            os.close(segment.fd)
        self._segments.pop(segment.path, None)
        if self._current is segment:
            self._current = None
