"""PURE: rows -> the bytes that COPY BINARY takes (PostgreSQL documentation, COPY, "Binary Format").

A batch is one request's records of one table, encoded while they are decoded: it weighs about as much as the request
did on the wire, so a queue of batches can be bounded in bytes, and the writer only passes bytes on.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from storage.columns import Column, TelemetryTable
from storage.rows import ResourceRow, Row, ScopeRow

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
COPY_TRAILER = b"\xff\xff"

# PostgreSQL counts microseconds from 2000-01-01.
_POSTGRES_EPOCH_US = 946_684_800_000_000
_US_PER_DAY = 86_400_000_000

_NULL = b"\xff\xff\xff\xff"
_length = struct.Struct("!i").pack
_FIXED = {
    "timestamptz": "iq",
    "bigint": "iq",
    "integer": "ii",
    "boolean": "i?",
    "uuid": "i16s",
    "double": "id",
}
_FIXED_BYTES = {"timestamptz": 8, "bigint": 8, "integer": 4, "boolean": 1, "uuid": 16, "double": 8}


@dataclass(slots=True)
class Batch:
    """Encoded rows of one table from one request, with the resources and scopes they name.

    ``rows`` holds one ``bytes`` a record (a COPY tuple), so that a record PostgreSQL refuses can be taken out;
    ``days`` are the UTC days (days since the epoch) its times fall on: their partitions must exist before the COPY.
    """

    table: TelemetryTable
    rows: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    days: set[int] = field(default_factory=set)
    resources: dict[bytes, ResourceRow] = field(default_factory=dict)
    scopes: dict[bytes, ScopeRow] = field(default_factory=dict)


def row_encoder(table: TelemetryTable) -> Callable[[Row], bytes]:
    """Return a function that encodes one row of ``table`` as a COPY BINARY tuple.

    The leading fixed-width columns go through one precompiled ``struct``; the rest field by field.
    """
    leading = 0
    for column in table.columns:
        if column.nullable or column.type not in _FIXED:
            break
        leading += 1
    head = struct.Struct("!h" + "".join(_FIXED[c.type] for c in table.columns[:leading])).pack
    lengths = [_FIXED_BYTES[c.type] for c in table.columns[:leading]]
    encoders = [_field_encoder(c) for c in table.columns[leading:]]
    count = len(table.columns)

    def encode(row: Row) -> bytes:
        fixed: list[object] = [count]
        for length, value in zip(lengths, row[:leading], strict=True):
            fixed.append(length)
            fixed.append(value)
        fixed[2] = row.time - _POSTGRES_EPOCH_US
        parts = [head(*fixed)]
        parts += [enc(v) for enc, v in zip(encoders, row[leading:], strict=True)]
        return b"".join(parts)

    return encode


def day_of(time_us: int) -> int:
    """Return the UTC day, counted from 1970-01-01, of a time in microseconds since the Unix epoch."""
    return time_us // _US_PER_DAY


def _field_encoder(column: Column) -> Callable[[object], bytes]:
    """Return the encoder of one field; NULL is a length of -1."""
    if column.type == "text":
        return _text
    if column.type == "jsonb":
        return _jsonb
    if column.type == "bytea":
        return _bytea
    pack, length = struct.Struct("!" + _FIXED[column.type]).pack, _FIXED_BYTES[column.type]
    return lambda value: _NULL if value is None else pack(length, value)


def _text(value: object) -> bytes:
    if value is None:
        return _NULL
    data = str(value).encode()
    return _length(len(data)) + data


def _jsonb(value: object) -> bytes:
    # jsonb_recv: one byte of version, 1, then the text.
    return _NULL if value is None else _length(len(value) + 1) + b"\x01" + value  # type: ignore[arg-type,operator]


def _bytea(value: object) -> bytes:
    return _NULL if value is None else _length(len(value)) + value  # type: ignore[arg-type,operator]
