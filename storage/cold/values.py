"""PURE: a column as PostgreSQL's binary elements (``storage.packing.codec``) <-> as an Arrow array.

Times, numbers, booleans and texts are what they are, jsonb is its text, ids are their 16 bytes: any tool that reads
Parquet reads the files. Bit for bit the same comes back, which ``storage.cold.freezing`` checks of every file.
"""

import struct
from array import array
from typing import Any

from storage.encoding import POSTGRES_EPOCH_US
from storage.packing.block import PackedColumn
from storage.packing.codec import split, with_lengths

_LENGTH_BYTES = 4
_NULL = b"\xff\xff\xff\xff"
_JSONB_VERSION = b"\x01"
# Type in SQL -> (bytes, code of ``array``) of numbers; a double's bits are moved as an integer's.
_NUMBERS = {"timestamptz": (8, "q"), "bigint": (8, "q"), "integer": (4, "i"), "double precision": (8, "q")}
_prefix = struct.Struct("!i").pack


def arrow_types(pa: Any) -> dict[str, Any]:
    """Return the Arrow type of each type in SQL; ``pa``: the module pyarrow."""
    return {
        "timestamptz": pa.timestamp("us", "UTC"),
        "bigint": pa.int64(),
        "integer": pa.int32(),
        "double precision": pa.float64(),
        "boolean": pa.bool_(),
        "uuid": pa.binary(16),
        "text": pa.string(),
        "jsonb": pa.string(),
        "bytea": pa.binary(),
    }


def to_arrow(pa: Any, sql_type: str, column: PackedColumn, count: int) -> Any:
    """Return the array of ``count`` elements whose type in SQL is ``sql_type``."""
    arrow_type = arrow_types(pa)[sql_type]
    if sql_type in _NUMBERS:
        return _numbers_to_arrow(pa, sql_type, arrow_type, column, count)
    elements = split(bytes(20) + column.elements)
    skip = _LENGTH_BYTES + (len(_JSONB_VERSION) if sql_type == "jsonb" else 0)
    if sql_type == "boolean":
        return pa.array([None if e == _NULL else e[_LENGTH_BYTES] == 1 for e in elements], arrow_type)
    values = pa.array([None if e == _NULL else e[skip:] for e in elements], pa.binary())
    return values.cast(arrow_type)


def _numbers_to_arrow(pa: Any, sql_type: str, arrow_type: Any, column: PackedColumn, count: int) -> Any:
    width, code = _NUMBERS[sql_type]
    validity, elements = None, column.elements
    if column.has_null:
        each = split(bytes(20) + elements)
        validity = pa.array([e != _NULL for e in each], pa.bool_()).buffers()[1]
        zero = _prefix(width) + bytes(width)
        elements = b"".join(zero if e == _NULL else e for e in each)
    stride = _LENGTH_BYTES + width
    values = bytearray(count * width)
    for k in range(width):
        values[k::width] = elements[_LENGTH_BYTES + width - 1 - k :: stride]
    if sql_type == "timestamptz":
        values = bytearray(array(code, [us + POSTGRES_EPOCH_US for us in array(code, bytes(values))]).tobytes())
    return pa.Array.from_buffers(arrow_type, count, [validity, pa.py_buffer(bytes(values))])


def from_arrow(sql_type: str, values: Any) -> PackedColumn:
    """Return an Arrow array as elements."""
    has_null = values.null_count > 0
    if sql_type in _NUMBERS and not has_null:
        return PackedColumn(_numbers(sql_type, values), has_null=False)
    if sql_type in _NUMBERS:
        numbers = split(bytes(20) + _numbers(sql_type, values))
        valid = values.is_valid().to_pylist()
        return PackedColumn(b"".join(e if v else _NULL for e, v in zip(numbers, valid, strict=True)), has_null=True)
    if sql_type == "boolean":
        known = {None: _NULL, True: _prefix(1) + b"\1", False: _prefix(1) + b"\0"}
        return PackedColumn(b"".join([known[v] for v in values.to_pylist()]), has_null)
    return PackedColumn(_variable(values, _JSONB_VERSION if sql_type == "jsonb" else b""), has_null)


def _numbers(sql_type: str, values: Any) -> bytes:
    """Return numbers as elements, whatever stands where NULL is."""
    width, code = _NUMBERS[sql_type]
    start = values.offset * width
    numbers = array(code, bytes(memoryview(values.buffers()[1])[start : start + len(values) * width]))
    if sql_type == "timestamptz":
        numbers = array(code, [us - POSTGRES_EPOCH_US for us in numbers])
    numbers.byteswap()
    return with_lengths(numbers.tobytes(), width)


def _variable(values: Any, before: bytes) -> bytes:
    """Return bytes or texts as elements, each value with ``before`` in front."""
    _, offsets_buffer, data_buffer = values.buffers()
    offsets = memoryview(offsets_buffer).cast("i")[values.offset : values.offset + len(values) + 1]
    data = bytes(data_buffer) if data_buffer is not None else b""
    more = len(before)
    valid = values.is_valid().to_pylist() if values.null_count else None
    pieces: list[bytes] = []
    for n in range(len(values)):
        if valid is not None and not valid[n]:
            pieces.append(_NULL)
            continue
        begin, end = offsets[n], offsets[n + 1]
        pieces += (_prefix(end - begin + more), before, data[begin:end])
    return b"".join(pieces)
