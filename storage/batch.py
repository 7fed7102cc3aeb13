"""PURE: what is committed together: encoded rows (``storage.encoding``) and what they name.

A batch is one request's records of one table, encoded while they are decoded: it weighs about as much as the request
did on the wire, so a queue of batches can be bounded in bytes, and the writer only passes bytes on.
"""

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from storage.columns import TELEMETRY_TABLES, TelemetryTable
from storage.counts import Cell, Counts, add, count, of_cells
from storage.encoding import FIXED_BYTES, POSTGRES_EPOCH_US
from storage.keys import RequestKey
from storage.rows import ResourceRow, Row, ScopeRow

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
COPY_TRAILER = b"\xff\xff"

_US_PER_DAY = 86_400_000_000
_MINUTES_A_DAY = 1_440

# A tuple begins with its number of fields (2 bytes); a length (4 bytes) stands before each field.
_FIRST_LENGTH_OFFSET, _LENGTH_BYTES = 2, 4
_TIME_OFFSET = _FIRST_LENGTH_OFFSET + _LENGTH_BYTES
_UUID_BYTES = 16
_time_of = struct.Struct("!q").unpack_from


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A record PostgreSQL itself refused: its position in ``Batch.rows`` and why, in words for the sender."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that is not stored, as it was sent: ``data`` in the encoding of ``media_type``, empty where it is lost.

    ``position``: in its request, counted as OTLP's ``rejected_*`` counts.
    """

    signal: str
    component: str
    position: int
    reason: str
    media_type: str
    data: bytes


Describe = Callable[[Sequence[RejectedRow]], list[RejectedRecord]]


class Tuples:
    """COPY tuples in order: pieces of one or many, as they were made, so that many cost no object each."""

    __slots__ = ("_ends", "_firsts", "_length", "pieces", "size_bytes")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        """What COPY takes, one behind the other."""
        self.size_bytes = 0
        self._ends: list[Sequence[int]] = []  # of each piece: where in it its tuples end
        self._firsts: list[int] = []  # of each piece: which of all its first tuple is
        self._length = 0

    @classmethod
    def of(cls, data: bytes, ends: "array[int]", since: int, until: int) -> "Tuples":
        """Return the tuples ``since`` to ``until`` of those that lie one behind the other in ``data``."""
        made = cls()
        if since or until < len(ends):
            start = ends[since - 1] if since else 0
            data, ends = data[start : ends[until - 1]], array("I", (end - start for end in ends[since:until]))
        made._add(data, ends)
        return made

    def append(self, encoded: bytes) -> None:
        """Add one."""
        self._add(encoded, (len(encoded),))

    def extend(self, more: "Tuples") -> None:
        """Add all of ``more``."""
        for piece, ends in zip(more.pieces, more._ends, strict=True):  # noqa: SLF001 - of its own kind
            self._add(piece, ends)

    def _add(self, piece: bytes, ends: Sequence[int]) -> None:
        self.pieces.append(piece)
        self._ends.append(ends)
        self._firsts.append(self._length)
        self._length += len(ends)
        self.size_bytes += len(piece)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(self._length))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tuples) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]  # it can be added to

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < self._length:
            raise IndexError(index)
        n = bisect_right(self._firsts, index) - 1
        ends, at = self._ends[n], index - self._firsts[n]
        return self.pieces[n][ends[at - 1] if at else 0 : ends[at]]


@dataclass(slots=True)
class EncodedRows:
    """Rows that were encoded at once, in order: what ``Batch.add`` would have noted of each."""

    rows: Tuples
    days: set[int]
    counts: Counts

    @classmethod
    def of(cls, component: str, cells: Iterable[Cell] = (), served: Iterable[tuple[int, int]] = ()) -> "EncodedRows":
        """Return none yet; ``cells`` and ``served`` count those to come (``storage.counts.of_cells``)."""
        counts = of_cells(component, cells, served)
        return cls(Tuples(), {key[0] // _MINUTES_A_DAY for key in counts}, counts)


@dataclass(slots=True)
class Batch:
    """Encoded rows of one table from one request, with the resources and scopes they name.

    ``rows`` holds each record's COPY tuple, so that one that PostgreSQL refuses can be taken out;
    ``days`` are the UTC days (days since the epoch) its times fall on: their partitions must exist before the COPY.
    ``counts`` says how many rows they are of each kind and minute (``storage.counts``).
    ``key`` says which request this is, so that it is stored once (None: it is stored whatever came before).
    ``attempts``: transactions that may have stored it already, as ``storage.transactions`` says, each with the rows
    that PostgreSQL had refused in it; the sink adds to it before each COMMIT, for its answer may be lost.
    ``component``: the one that most of its bytes are of; requests wait in its lane.
    ``place``: where a spool holds the request, segment (16 bytes) and offset; from one place it is stored once, without
    a limit in time, until ``storage.spooled.forget``.
    ``abandoned``: the caller waits no longer and keeps the request elsewhere; from now on it must not be committed.
    ``rejected_early``: records of its request that did not become rows. ``describe`` returns them as they were sent,
    and those of the rows it is given that PostgreSQL refused; it may take long, and may run in a thread.
    """

    table: TelemetryTable
    rows: Tuples = field(default_factory=Tuples)
    size_bytes: int = 0
    days: set[int] = field(default_factory=set)
    counts: Counts = field(default_factory=dict)
    resources: dict[bytes, ResourceRow] = field(default_factory=dict)
    scopes: dict[bytes, ScopeRow] = field(default_factory=dict)
    key: RequestKey | None = None
    component: str = ""
    attempts: dict[str, list[RejectedRow]] = field(default_factory=dict)
    place: tuple[bytes, int] | None = None
    abandoned: bool = False
    rejected_early: int = 0
    describe: Describe | None = None

    def add(self, row: Row, encoded: bytes) -> None:
        """Add one row and what it is encoded."""
        self.rows.append(encoded)
        self.size_bytes += len(encoded)
        self.days.add(row.time // _US_PER_DAY)
        count(self.counts, row)

    def extend(self, encoded: EncodedRows) -> None:
        """Add rows that are encoded already."""
        self.rows.extend(encoded.rows)
        self.size_bytes += encoded.rows.size_bytes
        self.days |= encoded.days
        if self.counts:
            add(self.counts, encoded.counts)
        else:
            self.counts = encoded.counts

    def day_of_row(self, index: int) -> int:
        """Return the UTC day of the row at ``index``, read back from its bytes (``time`` is the first column)."""
        since_2000_us: int = _time_of(self.rows[index], _TIME_OFFSET)[0]
        return (since_2000_us + POSTGRES_EPOCH_US) // _US_PER_DAY

    def interned_of_row(self, index: int) -> tuple[bytes, bytes]:
        """Return the ids of the resource and the scope that the row at ``index`` names, read back from its bytes."""
        resource, scope = _INTERNED_OFFSETS[self.table.name]
        row = self.rows[index]
        return row[resource : resource + _UUID_BYTES], row[scope : scope + _UUID_BYTES]


def _offset(table: TelemetryTable, name: str) -> int:
    """Return where the value of a leading column of fixed width begins in a tuple of ``table``."""
    offset = _FIRST_LENGTH_OFFSET
    for column in table.columns:
        offset += _LENGTH_BYTES
        if column.name == name:
            return offset
        offset += FIXED_BYTES[column.type]
    raise KeyError(name)


_INTERNED_OFFSETS = {t.name: (_offset(t, "resource_id"), _offset(t, "scope_id")) for t in TELEMETRY_TABLES}
