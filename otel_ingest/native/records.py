"""Requests of log records and spans in compiled code: where their records are (``outline.c``), and rows of them."""

import ctypes
import struct
import threading
from array import array
from typing import Any, NamedTuple

from otel_ingest import native
from storage.counts import NAME_CHARS_MAX, Cell

_Id = ctypes.c_uint8 * 16
# What compiled code writes of a part, a cell, what was served, and a record that is left, in integers.
_PART, _CELL, _SERVED, _LEFT = (struct.Struct(f"{count}q") for count in (12, 7, 2, 3))
_NAME_BYTES_MAX = 4 * NAME_CHARS_MAX
# What stays in a core's cache: records of a slice, half a millisecond of them, and bytes of their tuples.
_SLICE_RECORDS, _SLICE_BYTES = 256, 256 * 1024
# Scopes of a request; one of more is parsed by the library that decides.
_PARTS_MAX = 4_096


class _Scope(ctypes.Structure):
    """``Scope`` of rows.c."""

    _fields_ = (
        ("resource_id", _Id),
        ("scope_id", _Id),
        ("component", ctypes.c_char_p),
        ("component_size", ctypes.c_int64),
        ("record_bytes_max", ctypes.c_int64),
        ("depth_max", ctypes.c_int64),
        ("spans", ctypes.c_int32),
    )


class _Slice(ctypes.Structure):
    """``Slice`` of rows.c."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("buffer_size", ctypes.c_int64),
        ("records_max", ctypes.c_int64),
        ("ends", ctypes.c_void_p),
        ("cells", ctypes.c_void_p),
        ("served", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("records", ctypes.c_int64),
        ("cell_count", ctypes.c_int64),
        ("served_count", ctypes.c_int64),
        ("left_count", ctypes.c_int64),
        ("at", ctypes.c_int64),
    )


class Envelope:
    """What the rows of one scope share, and where the plain way begins: sizes in bytes."""

    __slots__ = ("_component", "address", "shared")

    def __init__(
        self, resource_id: bytes, scope_id: bytes, component: str, record_bytes_max: int, depth_max: int, *, spans: bool
    ) -> None:
        self._component = component.encode()  # the structure holds its address alone
        ids = _Id.from_buffer_copy(resource_id), _Id.from_buffer_copy(scope_id)
        bounds = record_bytes_max, depth_max, spans
        self.shared = _Scope(*ids, self._component, len(self._component), *bounds)
        self.address = ctypes.addressof(self.shared)


Times = tuple[int, int, int]
"""Which times are taken, the earliest and the latest, and what stands for none; in ns."""


class Scope(NamedTuple):
    """One scope's envelope: its own bytes (None: not sent) and URL, where in the body it is, and its records."""

    body: bytes
    scope: bytes | None
    schema_url: str
    at: int
    end: int
    records: int


class Group(NamedTuple):
    """One resource's envelope: its own bytes (None: not sent) and URL, and its scopes."""

    resource: bytes | None
    schema_url: str
    scopes: list[Scope]


class Outline(NamedTuple):
    """Where in a body its records are, and how many there are."""

    groups: list[Group]
    records: int


class Rows(NamedTuple):
    """COPY tuples one behind the other, where each ends, and what they count as (``storage.counts.of_cells``).

    ``left``: the records that the plain way must look at, whose tuples are empty: which, and their bytes. ``records``
    came in all; the next one is at ``at`` in the body.
    """

    data: bytes
    ends: "array[int]"
    cells: list[Cell]
    served: list[tuple[int, int]]
    left: list[tuple[int, bytes]]
    records: int
    at: int


class _Scratch(threading.local):
    """Where compiled code writes: a place for each thread, for it runs without the interpreter's lock."""

    def __init__(self, parts: int, records: int, size: int) -> None:
        self.parts_max, self.records_max = parts, records
        self.parts = bytearray(_PART.size * parts)
        self.buffer = bytearray(size)
        self.ends = array("I", bytes(4 * records))
        self.cells, self.served, self.left = (bytearray(kind.size * records) for kind in (_CELL, _SERVED, _LEFT))
        lists = map(native.address_of, (self.cells, self.served, self.left))
        self.slice = _Slice(native.address_of(self.buffer), size, records, self.ends.buffer_info()[0], *lists)
        self.address, self.parts_address = ctypes.addressof(self.slice), native.address_of(self.parts)
        self.view = memoryview(self.buffer)


_scratch = _Scratch(_PARTS_MAX, _SLICE_RECORDS, _SLICE_BYTES)


def outline(body: bytes) -> Outline | None:
    """Return where the records of a request are; None where the plain way must look at it."""
    assert native.library is not None  # noqa: S101 - asked for only where it is available
    parts = _scratch.parts
    count = native.library.otel_ingest_outline(body, len(body), _scratch.parts_address, _scratch.parts_max)
    if count < 0:
        return None
    groups: list[Group] = []
    all_records = 0
    for n in range(count):
        at, size, url, url_size, scope, scope_size, scope_url, scope_url_size, *more, first = _PART.unpack_from(
            parts, n * _PART.size
        )
        if first:
            groups.append(Group(None if size < 0 else body[at : at + size], _text(body, url, url_size), []))
        if more[2] >= 0:
            own = None if scope_size < 0 else body[scope : scope + scope_size]
            groups[-1].scopes.append(Scope(body, own, _text(body, scope_url, scope_url_size), *more))
            all_records += more[2]
    return Outline(groups, all_records)


def rows(scope: Scope, at: int, envelope: Envelope, times: Times, most: int) -> Rows:
    """Return the tuples of a scope's records from ``at`` in its body on: ``most`` of them or fewer."""
    assert native.library is not None  # noqa: S101
    scratch, found = _scratch, _scratch.slice
    body = scope.body
    found.records_max = min(most, scratch.records_max)
    native.library.otel_ingest_rows(body, at, scope.end, envelope.address, *times, scratch.address)
    count, served, left = found.records, found.served_count, found.left_count
    ends, spans = scratch.ends[:count], envelope.shared.spans
    return Rows(
        scratch.view[: ends[-1]].tobytes() if count else b"",
        ends,
        [_named(body, cell) if spans else cell[:4] for cell in _each(_CELL, scratch.cells, found.cell_count)],
        _each(_SERVED, scratch.served, served) if served else [],
        [(which, body[since:until]) for which, since, until in _each(_LEFT, scratch.left, left)] if left else [],
        count,
        found.at,
    )


def _each(kind: struct.Struct, written: bytearray, count: int) -> list[tuple[Any, ...]]:
    return [kind.unpack_from(written, kind.size * n) for n in range(count)]


def _named(body: bytes, cell: tuple[int, ...]) -> Cell:
    """Return a cell of spans: with the kind, and what of the name is counted by; it may be cut within a character."""
    minute, code, count, duration, kind, at, size = cell
    name = body[at : at + min(size, _NAME_BYTES_MAX)].decode(errors="ignore")[:NAME_CHARS_MAX]
    return minute, code, count, duration, name, kind


def _text(body: bytes, at: int, size: int) -> str:
    return "" if size < 1 else body[at : at + size].decode()
