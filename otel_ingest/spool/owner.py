"""Who owns a spool directory: one process, by flock; ``DATA_DIR/spool/0``, ``1``, … for as many as share a machine."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from otel_ingest.spool.format import parse_name

# More processes than this do not share one data directory.
_DIRECTORIES_MAX = 1_024
_LOCK = "lock"


class SpoolOwnedError(Exception):
    """A living process owns the directory."""


@dataclass(slots=True)
class Owned:
    """A directory that is ours until ``release``, or until this process ends, however it ends."""

    path: Path
    _descriptor: int

    def release(self) -> None:
        """Give it up; more than once is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def own(directory: Path) -> Owned:
    """Own a directory, made with mode 0700 if need be. Raises SpoolOwnedError, OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SpoolOwnedError(f"a running receiver owns {directory}; it drains it by itself") from error
    return Owned(directory, descriptor)


def is_owned(directory: Path) -> bool:
    """Whether a living process owns a directory."""
    if not (directory / _LOCK).exists():
        return False
    try:
        own(directory).release()
    except SpoolOwnedError:
        return True
    return False


def own_first_free(root: Path) -> Owned:
    """Own the first directory below ``root`` that nobody owns. Raises OSError."""
    for number in range(_DIRECTORIES_MAX):
        try:
            return own(root / str(number))
        except SpoolOwnedError:
            continue
    raise OSError(f"{_DIRECTORIES_MAX} processes own a spool below {root}")


def own_leftovers(root: Path) -> list[Owned]:
    """Own every directory below ``root`` that holds segments and that nobody owns."""
    found = []
    for directory in spool_directories(root):
        try:
            owned = own(directory)
        except SpoolOwnedError:
            continue
        if holds_segments(directory):
            found.append(owned)
        else:
            owned.release()
    return found


def spool_directories(path: Path) -> list[Path]:
    """Return the spool directories that ``path`` is or holds: one itself, ``spool`` of a data directory, a data one."""
    if not path.is_dir():
        return []
    if (path / _LOCK).exists() or holds_segments(path):
        return [path]
    below = path / "spool" if (path / "spool").is_dir() else path
    numbered = [d for d in below.iterdir() if d.is_dir() and d.name.isdecimal()]
    return sorted(numbered, key=lambda d: int(d.name))


def holds_segments(directory: Path) -> bool:
    """Whether a directory has files of a spool in it."""
    return any(parse_name(file.name) for file in directory.iterdir())
