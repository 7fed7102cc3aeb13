"""PURE: a block's columns -> its row of ``packed_blocks``: the facts by which it is found."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from storage.encoding import POSTGRES_EPOCH_US
from storage.filters import timestamp
from storage.packing.codec import split
from storage.packing.needs import trace_hash

_LENGTH_BYTES, _UUID_ELEMENT_BYTES = 4, 20
_HIGHEST = {"log_records": "severity_number", "spans": "status_code"}


def block_row(table: str, component: str, arrays: Mapping[str, bytes], data: bytes) -> dict[str, Any]:
    """Return the row of a block; ``arrays``: its columns as binary arrays, ``data``: ``block.make`` of them."""
    times, ids = _numbers(arrays["time"]), _numbers(arrays["id"])
    highest = _numbers(arrays[_HIGHEST[table]]) if table in _HIGHEST else []
    return {
        "table_name": table,
        "component": component,
        "first_time": timestamp(min(times) + POSTGRES_EPOCH_US),
        "last_time": timestamp(max(times) + POSTGRES_EPOCH_US),
        "first_id": min(ids),
        "last_id": max(ids),
        "records": len(ids),
        "highest": max(highest) if highest else None,
        "trace_hashes": _trace_hashes(arrays.get("trace_id", b"")),
        "data": data,
    }


def _numbers(array: bytes) -> list[int]:
    """Return the values of an array of integers or times; NULLs are left out."""
    return [int.from_bytes(e[_LENGTH_BYTES:], "big", signed=True) for e in split(array) if len(e) > _LENGTH_BYTES]


def _trace_hashes(array: bytes) -> list[int]:
    ids = {e[_LENGTH_BYTES:] for e in split(array) if len(e) == _UUID_ELEMENT_BYTES}
    return sorted({trace_hash(UUID(bytes=i)) for i in ids})
