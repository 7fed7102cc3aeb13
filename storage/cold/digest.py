"""PURE: the digest of a file's columns: SHA-256 over that of the elements of each column."""

import hashlib
from collections.abc import Sequence

from storage.packing.arrays import Part


class Digest:
    """Takes records in the order of the file, some at a time."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = {name: hashlib.sha256() for name in columns}
        self.records = 0

    def add(self, part: Part) -> None:
        """Take these records too."""
        self.records += part.records
        for name, so_far in self._columns.items():
            so_far.update(part.columns[name].elements)

    def value(self) -> bytes:
        """Return the digest of all that was taken."""
        whole = hashlib.sha256(str(self.records).encode())
        for name, so_far in self._columns.items():
            whole.update(name.encode() + b"\0" + so_far.digest())
        return whole.digest()
