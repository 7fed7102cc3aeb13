"""What cold files are made of: columns there and back bit for bit, and filters that miss no trace."""

import os
import struct

import pyarrow as pa
import pytest
from pydantic import ValidationError

from otel_ingest.config import Settings
from storage.cold import traces
from storage.cold.values import from_arrow, to_arrow
from storage.packing.block import PackedColumn

_INTEGERS = [0, 1, -1, 2**31 - 1, -(2**31)]
VALUES = {
    "timestamptz": [struct.pack("!q", n) for n in (0, -5, 10**15)],
    "bigint": [struct.pack("!q", n) for n in (*_INTEGERS, 2**63 - 1, -(2**63))],
    "integer": [struct.pack("!i", n) for n in _INTEGERS],
    # Signalling NaN and negative zero are bits like others.
    "double precision": [struct.pack("!d", n) for n in (0.0, -0.0, 1.5)] + [bytes.fromhex("7ff0000000000001")],
    "boolean": [b"\0", b"\1"],
    "text": ["ä\U0001f600".encode(), b"", b"plain"],
    "jsonb": [b'\x01{"a": 1.50}'],
    "bytea": [b"", b"\0\xff"],
}


@pytest.mark.parametrize("sql_type", VALUES)
@pytest.mark.parametrize("has_null", [False, True])
def test_a_column_comes_back_bit_for_bit(sql_type: str, has_null: bool) -> None:
    """PostgreSQL's elements, as an Arrow array, and as elements again; also of a part of the array."""
    elements = [struct.pack("!i", len(value)) + value for value in VALUES[sql_type] * 3]
    elements += [b"\xff\xff\xff\xff"] * has_null
    array = to_arrow(pa, sql_type, PackedColumn(b"".join(elements), has_null), len(elements))
    array.validate(full=True)

    assert from_arrow(sql_type, array) == PackedColumn(b"".join(elements), has_null)
    assert from_arrow(sql_type, array.slice(2)).elements == b"".join(elements[2:])


def test_a_filter_misses_no_trace_and_few_others() -> None:
    """Every id that is in it may be there; of others less than one in twenty."""
    known, others = ([os.urandom(16) for _ in range(5_000)] for _ in range(2))
    bits = traces.filter_of(known)
    cells = len(bits) // traces.CELL_BYTES

    def may_hold(trace_id: bytes) -> bool:
        at = traces.place(trace_id) % cells * traces.CELL_BYTES
        return traces.may_hold(bits[at : at + traces.CELL_BYTES], trace_id)

    assert all(may_hold(trace_id) for trace_id in known)
    assert sum(map(may_hold, others)) < len(others) / 20
    assert len(bits) < 1.3 * len(known)
    assert traces.filter_of([]) == b""


@pytest.mark.parametrize(("given", "says"), [({"cold_url": "cold"}, "absolute"), ({"cold_after_days": 3}, "cold_url")])
def test_a_location_that_is_none_is_refused(given: dict[str, object], says: str) -> None:
    """A path that another command would take for another place, and days without a place."""
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate(given)
