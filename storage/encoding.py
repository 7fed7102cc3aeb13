"""PURE: one row -> its COPY BINARY tuple, by code made from ``storage.columns`` (as namedtuple makes its class).

A tuple is a number of fields (2 bytes), then for each a length (4 bytes; -1: NULL) and the value, big endian:
PostgreSQL documentation, COPY, "Binary Format". A loop over the columns takes two and a half times as long.
"""

import struct
from collections.abc import Callable

from storage.columns import TELEMETRY_TABLES, Column, TelemetryTable
from storage.rows import Row

# PostgreSQL counts microseconds from 2000-01-01.
POSTGRES_EPOCH_US = 946_684_800_000_000
FIXED_BYTES = {"timestamptz": 8, "bigint": 8, "integer": 4, "boolean": 1, "uuid": 16, "double": 8}

_CODES = {"timestamptz": "q", "bigint": "q", "integer": "i", "boolean": "?", "uuid": "16s", "double": "d"}
# jsonb_recv: one byte of version, 1, then the text.
_JSONB_VERSION = 1
_length = struct.Struct("!i").pack


def row_encoder(table: TelemetryTable) -> Callable[[Row], bytes]:
    """Return the function that encodes one row of ``table``."""
    return _ENCODERS[table.name]


def _text(value: str) -> bytes:
    data = value.encode()
    return _length(len(data)) + data


def _jsonb(value: bytes) -> bytes:
    return _length(len(value) + 1) + b"\x01" + value


def _bytea(value: bytes) -> bytes:
    return _length(len(value)) + value


class _Code:
    """Collects the expressions whose bytes, joined, are a row; neighbours of fixed width share one ``struct``."""

    def __init__(self, columns: int) -> None:
        self.before: list[str] = []
        self.parts: list[str] = []
        self.names: dict[str, object] = {"text": _text, "jsonb": _jsonb, "bytea": _bytea}
        self._format = "!h"
        self._values = [str(columns)]

    def pack(self, code: str, *values: str) -> None:
        """Add values to the struct at hand."""
        self._format += code
        self._values += values

    def part(self, expression: str) -> None:
        """Add bytes behind the struct at hand."""
        self.close()
        self.parts.append(expression)

    def close(self) -> None:
        """End the struct at hand."""
        if self._values:
            name = f"pack_{len(self.parts)}"
            self.names[name] = struct.Struct(self._format).pack
            self.parts.append(f"{name}({', '.join(self._values)})")
            self._format, self._values = "!", []

    def add(self, column: Column) -> None:
        """Add one column: its length and its value."""
        name = column.name
        value = f"{name} - {POSTGRES_EPOCH_US}" if column.type == "timestamptz" else name
        size = FIXED_BYTES.get(column.type)
        if column.nullable:
            not_null = f"{column.type}({name})"
            if size is not None:
                self.names[f"pack_{name}"] = struct.Struct("!i" + _CODES[column.type]).pack
                not_null = f"pack_{name}({size}, {value})"
            self.part(rf"b'\xff\xff\xff\xff' if {name} is None else {not_null}")
        elif size is not None:
            self.pack("i" + _CODES[column.type], str(size), value)
        elif column.type == "jsonb":
            self.pack("iB", f"len({name}) + 1", str(_JSONB_VERSION))
            self.part(name)
        else:
            if column.type == "text":
                self.before.append(f"{name} = {name}.encode()")
            self.pack("i", f"len({name})")
            self.part(name)


def _compiled(table: TelemetryTable) -> Callable[[Row], bytes]:
    """Return the encoder of ``table``; its source is made of column names alone."""
    code = _Code(len(table.columns))
    for column in table.columns:
        code.add(column)
    code.close()
    lines = [
        "def encode(row):",
        f"    {', '.join(column.name for column in table.columns)} = row",
        *(f"    {line}" for line in code.before),
        f"    return b''.join(({', '.join(code.parts)}))",
    ]
    exec("\n".join(lines), code.names)  # noqa: S102 - nothing from outside is in it
    encode: Callable[[Row], bytes] = code.names["encode"]  # type: ignore[assignment]
    return encode


_ENCODERS = {table.name: _compiled(table) for table in TELEMETRY_TABLES}
