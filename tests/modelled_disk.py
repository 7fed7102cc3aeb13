"""A disk for the spool that obeys what POSIX promises and no more: it crashes between any two system calls.

What was not synced survives a crash in part: names made or removed each on their own, data page by page, and what did
not survive of a page is zeros or noise. A failed sync forgets what it could not write: a later one that succeeds does
not bring it back.
"""

import errno
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from otel_ingest.spool.format import Read

PAGE_BYTES = 32


class Crash(BaseException):
    """The machine stopped before this system call."""


class _File:
    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()  # what is on the platter for certain
        self.doubtful = False  # a failed sync: pages past `durable` may or may not be there, whatever syncs follow


class ModelledDisk:
    """``otel_ingest.spool.disk.Disk`` in memory."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self.files: dict[str, _File] = {}  # as the running system sees them
        self.durable_names: dict[str, _File] = {}  # as the directory on the platter has them
        self._handles: dict[int, _File] = {}
        self._next_handle = 1
        self.calls = 0
        self.crash_at: int | None = None
        self.fail: dict[int, int] = {}  # system call number -> errno
        self.honest_sync = True

    # What the running system calls.

    def names(self) -> list[str]:
        """Return all names."""
        names = list(self.files)
        self._random.shuffle(names)
        return names

    def size(self, name: str) -> int:
        """Return a file's length."""
        return len(self.files[name].data)

    def create(self, name: str) -> int:
        """Make a file."""
        self._call()
        if name in self.files:
            raise FileExistsError(errno.EEXIST, "File exists")
        file = self.files[name] = _File()
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._handles[handle] = file
        return handle

    def append(self, handle: int, pieces: Sequence[bytes]) -> None:
        """Write at the end."""
        data = b"".join(pieces)
        file = self._handles[handle]
        try:
            self._call()
        except (OSError, Crash):
            file.data += data[: self._random.randint(0, len(data))]
            raise
        file.data += data

    def sync(self, handle: int) -> None:
        """Make a file last, unless a sync of it failed before."""
        file = self._handles[handle]
        try:
            self._call()
        except OSError:
            file.doubtful = True
            raise
        if self.honest_sync and not file.doubtful:
            file.durable = bytearray(file.data)

    def truncate(self, handle: int, length: int) -> None:
        """Cut a file."""
        self._call()
        file = self._handles[handle]
        del file.data[length:]

    def close(self, handle: int) -> None:
        """Give a handle back."""
        del self._handles[handle]

    @contextmanager
    def reading(self, name: str) -> Iterator[Read]:
        """Yield a reader."""
        data = self.files[name].data
        yield lambda offset, length: bytes(data[offset : offset + length])

    def unlink(self, name: str) -> None:
        """Remove a name."""
        self._call()
        del self.files[name]

    def sync_directory(self) -> None:
        """Make the names last."""
        self._call()
        self.durable_names = dict(self.files)

    # What happens to it.

    def crash(self) -> None:
        """Stop the machine and start it again: keep what is durable, and any part of the rest."""
        chance = self._random
        names = {n: f for n, f in self.durable_names.items() if n in self.files or chance.random() < 0.5}
        names |= {n: f for n, f in self.files.items() if n in names or chance.random() < 0.5}
        for file in names.values():
            file.data = bytearray(self._survivor(file))
            file.durable = bytearray(file.data)
            file.doubtful = False
        self.files, self.durable_names = names, dict(names)
        self._handles.clear()
        self.crash_at, self.fail = None, {}

    def flip(self, name: str, position: int, mask: int) -> None:
        """Damage one byte of a file for good."""
        file = self.files[name]
        for data in (file.data, file.durable):
            if position < len(data):
                data[position] ^= mask

    def _survivor(self, file: _File) -> bytes:
        """Return the file as a crash leaves it: the durable part, then pages that made it or did not."""
        kept = bytes(file.durable)
        if len(file.data) < len(kept) and self._random.random() < 0.5:
            kept = kept[: len(file.data)]  # a truncate that was not synced may have happened
        tail = bytes(file.data[len(kept) :])
        if not tail or self._random.random() < 0.2:
            return kept
        tail = tail[: self._random.randint(0, len(tail))] if self._random.random() < 0.7 else tail
        for at in range(0, len(tail), PAGE_BYTES):
            page = tail[at : at + PAGE_BYTES]
            fate = self._random.random()
            if fate < 0.15:
                page = bytes(len(page))
            elif fate < 0.2:
                page = self._random.randbytes(len(page))
            kept += page
        return kept

    def _call(self) -> None:
        self.calls += 1
        if self.crash_at is not None and self.calls >= self.crash_at:
            raise Crash
        if self.calls in self.fail:
            number = self.fail.pop(self.calls)
            raise OSError(number, errno.errorcode[number])
