"""PURE: ranges of time that partitions cover: their names, what a period asks for, and what is missing."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

Period = Literal["hour", "day", "week"]
PERIODS: tuple[str, ...] = get_args(Period)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 1970-01-01 was a Thursday; weeks begin on Monday, as ISO 8601 has them.
_WEEK_EPOCH = datetime(1969, 12, 29, tzinfo=UTC)
_LENGTHS: dict[str, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
_HOUR, _DAY = _LENGTHS["hour"], _LENGTHS["day"]
_NAME = re.compile(r"_p(\d{8})(?:(\d{2})_(\d{1,3})h)?$")
_BOUND = re.compile(r"FROM \((MINVALUE|'[^']+')\) TO \((MAXVALUE|'[^']+')\)")
_FAR_PAST, _FAR_FUTURE = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """A stretch of time, ``until`` excluded; whole hours of UTC where it is a partition of ours."""

    since: datetime
    until: datetime

    def overlaps(self, other: "Range") -> bool:
        """Whether any moment is in both."""
        return self.since < other.until and other.since < self.until


def day_range(day: int) -> Range:
    """Return the UTC day that is ``day`` days after 1970-01-01."""
    since = _EPOCH + day * _DAY
    return Range(since, since + _DAY)


def range_name(table: str, bounds: Range) -> str:
    """Return the name of a partition: log_records_p20261124 is a day, log_records_p2026112405_1h an hour of it."""
    if bounds.until - bounds.since == _DAY and bounds.since.hour == 0:
        return f"{table}_p{bounds.since:%Y%m%d}"
    return f"{table}_p{bounds.since:%Y%m%d%H}_{(bounds.until - bounds.since) // _HOUR}h"


def range_of_name(name: str) -> Range | None:
    """Return what a partition of this name covers; None: the name is none of ours."""
    found = _NAME.search(name)
    if found is None:
        return None
    try:
        since = datetime.combine(date.fromisoformat(found[1]), datetime.min.time(), UTC) + int(found[2] or 0) * _HOUR
    except ValueError:
        return None
    return Range(since, since + int(found[3] or 24) * _HOUR)


def range_of_bounds(expression: str) -> Range | None:
    """Return the range of ``pg_get_expr(relpartbound)`` (its times have an offset); None: no range, as DEFAULT."""
    found = _BOUND.search(expression)
    if found is None:
        return None
    since = _FAR_PAST if found[1] == "MINVALUE" else datetime.fromisoformat(found[1].strip("'")).astimezone(UTC)
    until = _FAR_FUTURE if found[2] == "MAXVALUE" else datetime.fromisoformat(found[2].strip("'")).astimezone(UTC)
    return Range(since, until)


def days_ahead(now: datetime, ahead: int) -> range:
    """Return yesterday (late records), today and ``ahead`` more days, as days since 1970-01-01."""
    today = (now.astimezone(UTC) - _EPOCH).days
    return range(today - 1, today + ahead + 1)


def missing(present: Iterable[Range], period: str, days: Iterable[int]) -> list[Range]:
    """Return the partitions to make so that each of ``days`` is covered, in order.

    A partition is one cell of ``period`` (an hour, a day, a week from Monday) without what is covered already: what was
    made with another period keeps its bounds, new ones fill the gaps and never overlap.
    """
    taken = _merged(present)
    return [gap for cell in _cells(period, days) for gap in _gaps(taken, cell)]


def covered(present: Iterable[Range], days: Iterable[int]) -> set[int]:
    """Return those of ``days`` of which every moment is in one of the ranges ``present``."""
    taken = _merged(present)
    return {day for day in days if not _gaps(taken, day_range(day))}


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges of the same moments, in order, of which no two touch."""
    found: list[Range] = []
    for bounds in sorted(ranges):
        if found and bounds.since <= found[-1].until:
            found[-1] = Range(found[-1].since, max(found[-1].until, bounds.until))
        else:
            found.append(bounds)
    return found


def _gaps(taken: list[Range], cell: Range) -> list[Range]:
    """Return what of ``cell`` is in none of ``taken`` (in order, none touching)."""
    gaps, since = [], cell.since
    for n in range(bisect_right(taken, cell.since, key=lambda r: r.until), len(taken)):
        if taken[n].since >= cell.until:
            break
        if since < taken[n].since:
            gaps.append(Range(since, taken[n].since))
        since = taken[n].until
    if since < cell.until:
        gaps.append(Range(since, cell.until))
    return gaps


def _cells(period: str, days: Iterable[int]) -> list[Range]:
    """Return the cells of a period that have a part in ``days``, in order, each once."""
    length = _LENGTHS[period]
    origin = _WEEK_EPOCH if period == "week" else _EPOCH
    firsts = {
        origin + ((moment - origin) // length) * length
        for day in days
        for moment in ((day_range(day).since + n * length) for n in range(max(1, _DAY // length)))
    }
    return [Range(first, first + length) for first in sorted(firsts)]
