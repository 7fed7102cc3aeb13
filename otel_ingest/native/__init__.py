"""The compiled part: OTLP bytes -> COPY tuples, OTLP/JSON -> protobuf, and the search for secrets, for what is usual.

The sources are ``outline.c`` and ``rows.c``, ``json.c``, and ``search.c``.

A plain C library without an interpreter's interface: the same file serves every Python. It is made when the package is
built, where there is a C compiler; where there is none, everything goes the plain way, which decides in any case what
is unusual. A property test holds both together.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from otel_ingest.native.build import library_path

# That of the C sources: a library left from others is not used.
_VERSION = 7


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
    library.otel_ingest_outline.restype = ctypes.c_int64
    library.otel_ingest_outline.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64]
    library.otel_ingest_rows.restype = None
    library.otel_ingest_rows.argtypes = [
        ctypes.c_char_p,
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
        *(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64),
        ctypes.c_void_p,
    ]
    library.otel_ingest_states.restype = ctypes.c_int32
    library.otel_ingest_states.argtypes = [ctypes.c_void_p]
    library.otel_ingest_search.restype = ctypes.c_int32
    library.otel_ingest_search.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64]
    return library


library = load(library_path())
available = library is not None
"""Whether the library is there."""


# The seen ones are bits of a word.
_JSON_FIELDS_MAX = 64
# What protobuf takes of a byte of JSON: less than one but for long lists of numbers, where "1," is a fixed64.
_BYTES_A_CHARACTER: tuple[int, ...] = (1, 4)


def json_to_protobuf(body: bytes, tables: JsonTables, values_max: int) -> bytes | None:
    """Return an OTLP/JSON request as protobuf; None where the plain way must look at it.

    ``values_max``: how deep AnyValues may nest.
    """
    assert library is not None  # noqa: S101 - asked for only where it is available
    for bytes_a_character in _BYTES_A_CHARACTER:
        size = bytes_a_character * len(body) + 64
        buffer = bytearray(size)
        used = library.otel_ingest_json(
            body, len(body), tables.entries, tables.messages, values_max, address_of(buffer), size
        )
        if used >= 0:
            return bytes(memoryview(buffer)[:used])
    return None


def address_of(buffer: bytearray) -> int:
    """Return where a buffer begins; it may not be resized while that is used."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0
