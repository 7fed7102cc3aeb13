"""PURE: a block: some hundred records of one component as compressed columns; each is unpacked by itself.

Layout: the length of a directory (4 bytes, big endian), the directory (JSON: number of records, and name, form, whether
NULLs are in it, and length of each column), the columns one behind the other. Columns are known by name: one that a
later schema adds is NULL in older blocks.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from storage.packing.codec import DamagedBlockError, pack, split, unpack

_length = struct.Struct("!I")
_NULL = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class PackedColumn:
    """One unpacked column: its elements (``storage.packing.codec``) and whether a NULL is among them."""

    elements: bytes
    has_null: bool


class Block:
    """A block that was read; columns are unpacked when they are asked for."""

    def __init__(self, data: bytes) -> None:
        """Read the directory. Raises DamagedBlockError."""
        try:
            (length,) = _length.unpack_from(data)
            at = _length.size + length
            directory = json.loads(data[_length.size : at])
            self.records: int = directory["records"]
            self._columns: dict[str, tuple[str, bool, bytes]] = {}
            for name, form, has_null, size in directory["columns"]:
                self._columns[name] = form, bool(has_null), data[at : at + size]
                at += size
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise DamagedBlockError(f"the directory of a block cannot be read: {error}") from error
        if at != len(data):
            raise DamagedBlockError(f"a block has {len(data)} bytes, its directory says {at}")

    def column(self, name: str) -> PackedColumn:
        """Return one column. Raises DamagedBlockError."""
        if name not in self._columns:
            return PackedColumn(_NULL * self.records, has_null=True)
        form, has_null, data = self._columns[name]
        return PackedColumn(unpack(form, data, self.records), has_null)


def make(arrays: Mapping[str, bytes]) -> bytes:
    """Return the block of these columns, each a binary array as PostgreSQL sends it, all of one length."""
    directory, columns, records = [], [], 0
    for name, array in arrays.items():
        elements = split(array)
        form, data = pack(elements)
        directory.append([name, form, int(_NULL in elements), len(data)])
        columns.append(data)
        records = len(elements)
    head = json.dumps({"records": records, "columns": directory}, separators=(",", ":")).encode()
    return _length.pack(len(head)) + head + b"".join(columns)
