"""The system calls of the spool as a seam; the tests put a modelled disk here that crashes between any two of them."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from otel_ingest.spool.format import Read

# POSIX lets a writev take 16 buffers at least; Linux and macOS take 1,024.
_BUFFERS_MAX = 512


class Disk(Protocol):
    """One directory of files that only grow. Every method may raise OSError; names are without a directory."""

    def names(self) -> list[str]:
        """Return all file names, in no order."""
        ...

    def size(self, name: str) -> int:
        """Return the length of a file in bytes."""
        ...

    def create(self, name: str) -> int:
        """Make a file that does not exist, mode 0600; return its handle. Its name lasts after ``sync_directory``."""
        ...

    def append(self, handle: int, pieces: Sequence[bytes]) -> None:
        """Write at the end; after an error any part may have been written. It lasts after ``sync``."""
        ...

    def sync(self, handle: int) -> None:
        """Return once everything appended is on the disk. After an error nothing is known of what was appended."""
        ...

    def truncate(self, handle: int, length: int) -> None:
        """Cut a file; it lasts after ``sync``."""
        ...

    def close(self, handle: int) -> None:
        """Give a handle back."""
        ...

    @contextmanager
    def reading(self, name: str) -> Iterator[Read]:
        """Yield a function that reads from a file."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a file; it lasts after ``sync_directory``."""
        ...

    def sync_directory(self) -> None:
        """Return once names made and removed are on the disk."""
        ...


class RealDisk:
    """``Disk`` on a directory of the file system, made with mode 0700."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """See ``Disk.names``."""
        return os.listdir(self._directory)  # noqa: PTH208 - names, not paths

    def size(self, name: str) -> int:
        """See ``Disk.size``."""
        return (self._directory / name).stat().st_size

    def create(self, name: str) -> int:
        """See ``Disk.create``."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._directory / name, flags, 0o600)

    def append(self, handle: int, pieces: Sequence[bytes]) -> None:
        """See ``Disk.append``."""
        for first in range(0, len(pieces), _BUFFERS_MAX):
            some = pieces[first : first + _BUFFERS_MAX]
            written = os.writev(handle, some)
            # A short write says that the next one will fail, with the reason.
            rest = memoryview(b"".join(some))[written:] if written < sum(map(len, some)) else memoryview(b"")
            while rest:
                rest = rest[os.write(handle, rest) :]

    def sync(self, handle: int) -> None:
        """See ``Disk.sync``."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync stops at the drive's cache
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(handle)

    def truncate(self, handle: int, length: int) -> None:
        """See ``Disk.truncate``."""
        os.ftruncate(handle, length)

    def close(self, handle: int) -> None:
        """See ``Disk.close``."""
        os.close(handle)

    @contextmanager
    def reading(self, name: str) -> Iterator[Read]:
        """See ``Disk.reading``."""
        descriptor = os.open(self._directory / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield lambda offset, length: os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def unlink(self, name: str) -> None:
        """See ``Disk.unlink``."""
        (self._directory / name).unlink()

    def sync_directory(self) -> None:
        """See ``Disk.sync_directory``."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
