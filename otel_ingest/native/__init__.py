"""The compiled part: OTLP bytes -> COPY tuples, and OTLP/JSON -> protobuf, for what is usual (``rows.c``, ``json.c``).

A plain C library without an interpreter's interface: the same file serves every Python. It is made when the package is
built, where there is a C compiler; where there is none, everything goes the plain way, which decides in any case what
is unusual. A property test holds both together.
"""

import ctypes
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from otel_ingest.native.build import library_path
from storage.counts import NAME_CHARS_MAX, Cell

# That of the C sources: a library left from others is not used.
_VERSION = 4

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


class _Entry(ctypes.Structure):
    """``Entry`` of json.c."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("size", ctypes.c_int32),
        ("number", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("repeated", ctypes.c_int32),
        ("message", ctypes.c_int32),
        ("oneof", ctypes.c_int32),
    )


class _Message(ctypes.Structure):
    """``Message`` of json.c."""

    _fields_ = (("first", ctypes.c_int32), ("count", ctypes.c_int32), ("is_value", ctypes.c_int32))


class JsonField(NamedTuple):
    """A field of a message: ``type`` as json.c numbers them; ``oneof`` from 1, 0 where it is of none."""

    name: str
    number: int
    type: int
    repeated: bool
    message: int
    oneof: int


class JsonTables:
    """What a request may hold: each message's fields, and whether it is AnyValue; the request itself comes first."""

    def __init__(self, messages: Sequence[tuple[Sequence[JsonField], bool]]) -> None:
        """Raise ValueError for a message of more fields than the compiled code can tell apart."""
        if max(len(fields) for fields, _ in messages) > _JSON_FIELDS_MAX:
            raise ValueError("a message has more fields than are told apart")
        entries: list[_Entry] = []
        heads: list[_Message] = []
        for fields, is_value in messages:
            heads.append(_Message(len(entries), len(fields), is_value))
            for field in fields:
                name = field.name.encode()
                entries.append(_Entry(name, len(name), *field[1:]))
        self._names = [entry.name for entry in entries]  # the structures hold addresses alone
        self.entries = (_Entry * len(entries))(*entries)
        self.messages = (_Message * len(heads))(*heads)


class Envelope:
    """What the rows of one scope share, and where the plain way begins: times in ns, sizes in bytes."""

    __slots__ = ("_component", "shared")

    def __init__(
        self,
        resource_id: bytes,
        scope_id: bytes,
        component: str,
        earliest_ns: int,
        latest_ns: int,
        received_ns: int,
        record_bytes_max: int,
        depth_max: int,
    ) -> None:
        self._component = component.encode()  # the structure holds its address alone
        self.shared = _Shared(
            _Id.from_buffer_copy(resource_id),
            _Id.from_buffer_copy(scope_id),
            self._component,
            len(self._component),
            earliest_ns,
            latest_ns,
            received_ns,
            record_bytes_max,
            depth_max,
        )


def load(path: Path) -> ctypes.CDLL | None:
    """Return the library at ``path``; None where there is none, or one of other sources."""
    try:
        library = ctypes.CDLL(str(path))
        if library.otel_ingest_version() != _VERSION:
            return None
    except (OSError, AttributeError):
        return None
    library.otel_ingest_json.restype = ctypes.c_int64
    library.otel_ingest_json.argtypes = [
        ctypes.c_char_p,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_int64,
    ]
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
        ctypes.c_void_p,
    ]
    return library


_library = load(library_path())
available = _library is not None
"""Whether the library is there."""

# The seen ones are bits of a word.
_JSON_FIELDS_MAX = 64
# The most that protobuf takes of a byte of JSON: "1," is a fixed64.
_BYTES_A_CHARACTER = 4


def json_to_protobuf(body: bytes, tables: JsonTables, values_max: int) -> bytes | None:
    """Return an OTLP/JSON request as protobuf; None where the plain way must look at it.

    ``values_max``: how deep AnyValues may nest.
    """
    assert _library is not None  # noqa: S101 - asked for only where it is available
    size = _BYTES_A_CHARACTER * len(body) + 64
    buffer = bytearray(size)
    used = _library.otel_ingest_json(
        body, len(body), tables.entries, tables.messages, values_max, _address(buffer), size
    )
    return bytes(memoryview(buffer)[:used]) if used >= 0 else None


_CELL = 7
_NAME_BYTES_MAX = 4 * NAME_CHARS_MAX
# A tuple is mostly shorter than twice its record; what does not fit goes the plain way.
_BYTES_A_BYTE, _BYTES_A_ROW = 4, 512


def rows(
    records: Sequence[bytes], envelope: Envelope, *, spans: bool
) -> tuple[list[bytes], list[Cell], Mapping[int, int]]:
    """Return the COPY tuple of each LogRecord or Span, empty where the plain way must look at it, and their counts.

    These are the cells and what was served, as ``storage.counts.of_cells`` takes them.
    """
    assert _library is not None  # noqa: S101 - asked for only where it is available
    data, count = b"".join(records), len(records)
    shared = envelope.shared
    size = _BYTES_A_BYTE * len(data) + (_BYTES_A_ROW + shared.component_size) * count
    buffer, lengths = bytearray(size), array("I", map(len, records))
    ends, cells, served = (array("q", bytes(8 * n * count)) for n in (1, _CELL, 1))
    used = _library.otel_ingest_rows(
        data,
        lengths.buffer_info()[0],
        count,
        shared,
        spans,
        _address(buffer),
        size,
        ends.buffer_info()[0],
        cells.buffer_info()[0],
        served.buffer_info()[0],
    )
    view = memoryview(buffer)
    tuples = [view[start:end].tobytes() for start, end in pairwise((0, *ends))]
    found = zip(*[iter(cells[: _CELL * used])] * _CELL, strict=True)
    if not spans:
        return tuples, [cell[:4] for cell in found], {}
    requests = Counter(served)
    requests.pop(-1, None)
    return tuples, [(*cell[:4], _name(data, *cell[5:]), cell[4]) for cell in found], requests


def _address(buffer: bytearray) -> int:
    """Return where a buffer begins; it may not be resized while that is used."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


def _name(data: bytes, at: int, size: int) -> str:
    """Return what of a name is counted by; it is valid, but for a character that is cut."""
    return data[at : at + min(size, _NAME_BYTES_MAX)].decode(errors="ignore")[:NAME_CHARS_MAX]
