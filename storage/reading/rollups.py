"""Questions that ``storage.rollups`` answers without a look at the rows: how many, of what kind, in which minutes.

Only whole minutes; what a window cuts of its first and last minute is counted from the rows (``edges``). One statement
reads what was added up and what was not, for between two of them rows move from one to the other.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    DateTime,
    LargeBinary,
    Numeric,
    Select,
    Table,
    cast,
    func,
    literal,
    null,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.count_models import CountTables
from storage.counts import US_PER_MINUTE
from storage.engine import BINARY
from storage.filters import timestamp
from storage.mapping import us_of
from storage.rollups import COUNT_BYTES, DURATION_BYTES, MINUTES_AN_HOUR

MINUTE_NS = 60_000_000_000
HOUR_S = 3_600
_US_PER_HOUR = 3_600_000_000
_unpack_counts = struct.Struct(f"!{MINUTES_AN_HOUR}I").unpack
# Far past what PostgreSQL and Python hold as a time; timestamp() brings it back to that.
_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Minutes:
    """Whole minutes since 1970, [since, until)."""

    since: int
    until: int

    @classmethod
    def within(cls, since_ns: int | None, until_ns: int | None) -> "Minutes | None":
        """Return the whole minutes of a window; None where it holds none."""
        since = 0 if since_ns is None else max(0, -(-since_ns // MINUTE_NS))
        until = _NEVER if until_ns is None else until_ns // MINUTE_NS
        return cls(since, until) if since < until else None

    def edges(self, since_ns: int | None, until_ns: int | None) -> list[tuple[int, int]]:
        """Return what is left of the window, ns: before the first whole minute and after the last."""
        found = []
        if since_ns is not None and 0 <= since_ns < self.since * MINUTE_NS:
            found.append((since_ns, self.since * MINUTE_NS))
        if until_ns is not None and self.until * MINUTE_NS < until_ns:
            found.append((self.until * MINUTE_NS, until_ns))
        return found


@dataclass(slots=True)
class Cell:
    """Rows of one kind and bin, and for spans the sum of their durations in ns."""

    count: int = 0
    duration_ns: int = 0


Cells = dict[tuple[int | None, tuple[Any, ...]], Cell]
"""(start of the bin in microseconds since 1970, or None for all of the window; what they are grouped by) -> counts."""


Bins = dict[tuple[Any, ...], dict[int | None, int]]
"""What they are grouped by -> start of the bin in microseconds since 1970, or None for all of the window -> rows."""


async def bins(
    connection: AsyncConnection,
    tables: CountTables,
    minutes: Minutes,
    *,
    where: Sequence[tuple[str, Any]] = (),
    least_code: int | None = None,
    group_by: Sequence[str] = (),
    interval_s: int | None = None,
    edges: Sequence[Select[Any]] = (),
) -> Bins:
    """Return the same as ``cells``, without durations, in a form that tens of thousands of bins are made in quickly."""
    statement = _Selects(tables, where, least_code, group_by).union(minutes, interval_s, edges)
    rows = (await connection.execute(statement, execution_options={BINARY: True})).all()
    found: Bins = {}
    # Lanes first: they are most of it, and an hour of a group is one row of them.
    for row in rows:
        if row.lanes is not None:
            _add_lanes(found.setdefault(tuple(row[1:-4]), {}), row, minutes, interval_s)
    for row in rows:
        if row.lanes is None and row.n:
            start = None if interval_s is None or row.at is None else _bin(us_of(row.at), interval_s)
            of_group = found.setdefault(tuple(row[1:-4]), {})
            of_group[start] = of_group.get(start, 0) + int(row.n)
    return found


def _add_lanes(found: dict[int | None, int], row: Any, minutes: Minutes, interval_s: int | None) -> None:
    """Add the minutes of an hour that are within the window."""
    at_us = us_of(row.at)
    counts = _unpack_counts(_summed(row.lanes, COUNT_BYTES * MINUTES_AN_HOUR))
    first = at_us // US_PER_MINUTE
    begin, end = max(0, minutes.since - first), min(MINUTES_AN_HOUR, minutes.until - first)
    if interval_s is None:
        found[None] = found.get(None, 0) + sum(counts[begin:end])
        return
    starts = range(at_us + begin * US_PER_MINUTE, at_us + end * US_PER_MINUTE, US_PER_MINUTE)
    if interval_s * 1_000_000 == US_PER_MINUTE:
        found.update(zip(starts, counts[begin:end], strict=True))
        return
    for start, count in zip(starts, counts[begin:end], strict=True):
        bin_start = _bin(start, interval_s)
        found[bin_start] = found.get(bin_start, 0) + count


def edge(
    table: Table, group_by: Sequence[str], conditions: Sequence[ColumnElement[bool]], *, binned: bool
) -> Select[Any]:
    """Return the counts of some rows of ``table`` as a part of the statement, by minute where they are ``binned``."""
    at = func.date_bin(func.make_interval(0, 0, 0, 0, 0, 1), table.c.time, timestamp(0)) if binned else None
    groups = [(name, table.c[name]) for name in group_by]
    chosen = select(*_columns(at, groups, (func.count(), null(), null(), null()))).where(*conditions)
    # By their places: a name could as well be a column.
    return chosen.group_by(*(text(str(place)) for place in range(1 if binned else 2, len(groups) + 2)))


async def cells(
    connection: AsyncConnection,
    tables: CountTables,
    minutes: Minutes,
    *,
    where: Sequence[tuple[str, Any]] = (),
    least_code: int | None = None,
    group_by: Sequence[str] = (),
    interval_s: int | None = None,
    edges: Sequence[Select[Any]] = (),
) -> Cells:
    """Return exact counts of whole minutes, and of ``edges``: further parts of the statement, made by ``edge``.

    ``where``: columns that must be equal; ``least_code``: the least severity or status; ``interval_s``: a multiple of
    60, bins are counted from 1970.
    """
    statement = _Selects(tables, where, least_code, group_by).union(minutes, interval_s, edges)
    found: Cells = {}
    for row in await connection.execute(statement):
        group = tuple(getattr(row, f"by_{name}") for name in group_by)
        for at_us, count, duration in _parts(row, minutes):
            start = None if interval_s is None or at_us is None else _bin(at_us, interval_s)
            cell = found.get((start, group))
            if cell is None:
                cell = found[start, group] = Cell()
            cell.count += count
            cell.duration_ns += duration
    return {key: cell for key, cell in found.items() if cell.count}


def _bin(at_us: int, interval_s: int) -> int:
    return at_us - at_us % (interval_s * 1_000_000)


def _parts(row: Any, minutes: Minutes) -> Iterator[tuple[int | None, int, int]]:
    """Yield (microseconds since 1970, count, duration) of a row: one, or one for each lane within the window."""
    at_us = None if row.at is None else us_of(row.at)
    if row.lanes is None:
        yield at_us, int(row.n or 0), int(row.d or 0)
        return
    assert at_us is not None  # noqa: S101 - lanes are of an hour
    counts = _unpack_counts(_summed(row.lanes, COUNT_BYTES * MINUTES_AN_HOUR))
    durations = b"" if row.duration_lanes is None else _summed(row.duration_lanes, DURATION_BYTES * MINUTES_AN_HOUR)
    first = at_us // US_PER_MINUTE
    for lane in range(max(0, minutes.since - first), min(MINUTES_AN_HOUR, minutes.until - first)):
        if counts[lane]:
            duration = int.from_bytes(durations[lane * DURATION_BYTES : (lane + 1) * DURATION_BYTES], "big")
            yield at_us + lane * US_PER_MINUTE, counts[lane], duration


def _summed(lanes: bytes, width: int) -> bytes:
    """Add up blocks of ``width`` bytes lane by lane: as numbers, for no lane runs over into the next."""
    if len(lanes) == width:
        return lanes
    return sum(int.from_bytes(lanes[at : at + width], "big") for at in range(0, len(lanes), width)).to_bytes(
        width, "big"
    )


class _Selects:
    """The three parts of the statement, of the same columns: at, by_…, n, d, lanes, duration_lanes."""

    def __init__(
        self, tables: CountTables, where: Sequence[tuple[str, Any]], least_code: int | None, group_by: Sequence[str]
    ) -> None:
        self._tables, self._where, self._least, self._group_by = tables, where, least_code, group_by
        self._timed = "durations" in tables.counts.c

    def union(self, minutes: Minutes, interval_s: int | None, edges: Sequence[Select[Any]]) -> CompoundSelect[Any]:
        """Return the whole statement; bins that are no whole hours take every hour apart."""
        binned = interval_s is not None
        by_lane = interval_s is not None and interval_s % HOUR_S != 0
        pieces = [self.lanes(minutes, every=by_lane), self.deltas(minutes, binned=binned), *edges]
        return union_all(*pieces, *([] if by_lane else [self.hours(minutes, binned=binned)]))

    def hours(self, minutes: Minutes, *, binned: bool) -> Select[Any]:
        """Return the whole hours."""
        column = self._tables.counts.c
        first, last = -(-minutes.since // MINUTES_AN_HOUR), minutes.until // MINUTES_AN_HOUR
        duration = func.sum(column.duration_ns) if self._timed else null()
        window = (column.hour >= _hour(first), column.hour < _hour(last))
        at = column.hour if binned else None
        return self._grouped(self._tables.counts, at, (func.sum(column.total), duration, null(), null()), window)

    def lanes(self, minutes: Minutes, *, every: bool) -> Select[Any]:
        """Return the minutes of the hours that the window cuts, or of every one."""
        column = self._tables.counts.c
        first, last = minutes.since // MINUTES_AN_HOUR, -(-minutes.until // MINUTES_AN_HOUR)
        window: tuple[ColumnElement[bool], ...] = (column.hour >= _hour(first), column.hour < _hour(last))
        if not every:
            cut = {m // MINUTES_AN_HOUR for m in (minutes.since, minutes.until) if m % MINUTES_AN_HOUR}
            window = (column.hour.in_([_hour(h) for h in sorted(cut)]),)
        durations = func.string_agg(column.durations, _NOTHING) if self._timed else null()
        lanes = func.string_agg(column.minutes, _NOTHING)
        return self._grouped(self._tables.counts, column.hour, (null(), null(), lanes, durations), window)

    def deltas(self, minutes: Minutes, *, binned: bool) -> Select[Any]:
        """Return what was not added up yet."""
        column = self._tables.deltas.c
        window = (column.minute >= _minute(minutes.since), column.minute < _minute(minutes.until))
        duration = func.sum(column.duration_ns) if self._timed else null()
        at = column.minute if binned else None
        return self._grouped(self._tables.deltas, at, (func.sum(column.count), duration, null(), null()), window)

    def _grouped(
        self,
        table: Table,
        at: ColumnElement[Any] | None,
        values: tuple[Any, ...],
        window: Sequence[ColumnElement[bool]],
    ) -> Select[Any]:
        groups = [table.c[name] for name in self._group_by]
        code = table.c[self._tables.code.name]
        conditions = [*window, *(table.c[name] == value for name, value in self._where)]
        if self._least is not None:
            conditions.append(code >= self._least)
        chosen = select(*_columns(at, list(zip(self._group_by, groups, strict=True)), values)).where(*conditions)
        return chosen.group_by(*groups, *([] if at is None else [at]))


def _columns(
    at: ColumnElement[Any] | None, groups: Sequence[tuple[str, ColumnElement[Any]]], values: Sequence[Any]
) -> list[ColumnElement[Any]]:
    """Return the columns that the parts of the statement have in common."""
    names = ("n", "d", "lanes", "duration_lanes")
    types = (Numeric, Numeric, LargeBinary, LargeBinary)
    return [
        (cast(null(), DateTime(timezone=True)) if at is None else at).label("at"),
        *(group.label(f"by_{name}") for name, group in groups),
        *(cast(value, kind).label(name) for value, kind, name in zip(values, types, names, strict=True)),
    ]


_NOTHING = literal(b"", LargeBinary)


def _hour(hour: int) -> Any:
    return timestamp(hour * _US_PER_HOUR)


def _minute(minute: int) -> Any:
    return timestamp(minute * US_PER_MINUTE)
