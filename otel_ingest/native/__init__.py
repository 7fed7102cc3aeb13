"""The compiled part: OTLP bytes -> COPY tuples, and OTLP/JSON -> protobuf, for what is usual (``rows.c``, ``json.c``).

A plain C library without an interpreter's interface: the same file serves every Python. It is made when the package is
built, where there is a C compiler; where there is none, everything goes the plain way, which decides in any case what
is unusual. A property test holds both together.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from otel_ingest.native.build import library_path

# That of the C sources: a library left from others is not used.
_VERSION = 1


_Id = ctypes.c_uint8 * 16


class _Shared(ctypes.Structure):
    """``Shared`` of rows.c."""

    _fields_ = (
        ("resource_id", _Id),
        ("scope_id", _Id),
        ("component", ctypes.c_char_p),
        ("component_size", ctypes.c_int64),
        ("earliest_ns", ctypes.c_uint64),
        ("latest_ns", ctypes.c_uint64),
        ("received_ns", ctypes.c_uint64),
        ("record_bytes_max", ctypes.c_int64),
        ("depth_max", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the rows of one scope share, and where the plain way begins: times in ns, sizes in bytes."""

    resource_id: bytes
    scope_id: bytes
    component: str
    earliest_ns: int
    latest_ns: int
    received_ns: int
    record_bytes_max: int
    depth_max: int


def load(path: Path) -> ctypes.CDLL | None:
    """Return the library at ``path``; None where there is none, or one of other sources."""
    try:
        library = ctypes.CDLL(str(path))
        if library.otel_ingest_version() != _VERSION:
            return None
    except (OSError, AttributeError):
        return None
    library.otel_ingest_rows.restype = ctypes.c_int64
    library.otel_ingest_rows.argtypes = [
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.POINTER(_Shared),
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    return library


_library = load(library_path())
available = _library is not None
"""Whether the library is there."""

Cells = list[tuple[int, int, int, int]]
"""(minutes since 1970, severity number or status code, rows, sum of durations in ns); one may stand twice."""
_CELL = 4
# A tuple is mostly shorter than twice its record; what does not fit goes the plain way.
_BYTES_A_BYTE, _BYTES_A_ROW = 4, 512


def rows(records: Sequence[bytes], envelope: Envelope, *, spans: bool) -> tuple[list[bytes], Cells]:
    """Return the COPY tuple of each LogRecord or Span, empty where the plain way must look at it, and their counts."""
    assert _library is not None  # noqa: S101 - asked for only where it is available
    data, count = b"".join(records), len(records)
    component = envelope.component.encode()
    shared = _Shared(
        _Id(*envelope.resource_id),
        _Id(*envelope.scope_id),
        component,
        len(component),
        envelope.earliest_ns,
        envelope.latest_ns,
        envelope.received_ns,
        envelope.record_bytes_max,
        envelope.depth_max,
    )
    size = _BYTES_A_BYTE * len(data) + (_BYTES_A_ROW + len(component)) * count
    buffer = bytearray(size)
    lengths = (ctypes.c_uint32 * count)(*map(len, records))
    ends, cells = (ctypes.c_int64 * count)(), (ctypes.c_int64 * (_CELL * count))()
    used = _library.otel_ingest_rows(
        data, lengths, count, shared, spans, (ctypes.c_char * size).from_buffer(buffer), size, ends, cells
    )
    view = memoryview(buffer)
    tuples = [view[start:end].tobytes() for start, end in pairwise((0, *ends))]
    numbers = cells[: _CELL * used]
    return tuples, list(zip(*[iter(numbers)] * _CELL, strict=True))
