"""What components served and how long it took, from the roll-ups where they can tell and else from the spans.

Whole hours are read as hours, cut ones by minutes, the rest of the first and last minute from the spans; so are hours
that were stored before they were counted, until they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, all_, cast, false, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.count_models import span_detail_deltas, span_times
from storage.counts import US_PER_MINUTE
from storage.filters import timestamp
from storage.latency import BUCKETS, CELL
from storage.mapping import us_of
from storage.models import spans
from storage.reading.rollups import MINUTE_NS, Minutes
from storage.rollups import MINUTES_AN_HOUR, served

HOUR_NS = MINUTES_AN_HOUR * MINUTE_NS
Range = tuple[int, int]
"""[since, until) in ns since 1970."""
_ERROR = 2
_HALF = CELL // 2


@dataclass(slots=True)
class Served:
    """Requests of one component: how many, how many failed, and how many took how long (``storage.latency``)."""

    requests: int = 0
    errors: int = 0
    histogram: dict[int, int] = field(default_factory=dict)


async def requests_served(connection: AsyncConnection, since_ns: int, until_ns: int) -> dict[str, Served]:
    """Return what each component served in [since, until), to the microsecond."""
    window = since_ns // 1000 * 1000, -(-until_ns // 1000) * 1000
    minutes = Minutes.within(*window)
    found: dict[str, Served] = {}
    ranges: list[Range] = [window]
    if minutes is not None:
        uncounted = await uncounted_hours(connection, minutes.since * MINUTE_NS, minutes.until * MINUTE_NS)
        for statement in _counted(minutes, [timestamp(hour // 1000) for hour in uncounted]):
            _add(found, (await connection.execute(statement)).all())
        ranges = minutes.edges(*window)
        ranges += within(
            [(hour, hour + HOUR_NS) for hour in uncounted], minutes.since * MINUTE_NS, minutes.until * MINUTE_NS
        )
    for since, until in joined(ranges):
        _add(found, (await connection.execute(_of_spans(since, until))).all())
    return found


async def uncounted_hours(connection: AsyncConnection, since_ns: int, until_ns: int) -> list[int]:
    """Return the hours (ns, rising) that a window touches and of whose spans the roll-ups do not know."""
    edges = timestamp(since_ns // HOUR_NS * HOUR_NS // 1000), timestamp(-(-until_ns // HOUR_NS) * HOUR_NS // 1000)
    hours = func.otel_ingest_uncounted_hours(*edges, type_=DateTime(timezone=True))
    return sorted(us_of(hour) * 1000 for hour in (await connection.execute(select(hours))).scalars())


def joined(ranges: Sequence[Range]) -> list[Range]:
    """Return the same ranges in order, neighbours as one."""
    found: list[Range] = []
    for since, until in sorted(ranges):
        if found and since <= found[-1][1]:
            found[-1] = (found[-1][0], max(until, found[-1][1]))
        else:
            found.append((since, until))
    return found


def within(ranges: Sequence[Range], since_ns: int, until_ns: int) -> list[Range]:
    """Return what of ranges lies in a window."""
    cut = ((max(since, since_ns), min(until, until_ns)) for since, until in ranges)
    return [(since, until) for since, until in cut if since < until]


def outside(ranges: Sequence[Range], since_ns: int, until_ns: int) -> list[Range]:
    """Return what of a window lies in none of ``ranges``."""
    found, at = [], since_ns
    for since, until in joined(within(ranges, since_ns, until_ns)):
        found += [(at, since)] if at < since else []
        at = until
    return [*found, (at, until_ns)] if at < until_ns else found


def not_of(column: Any, moments: Sequence[datetime]) -> Any:
    """Return the condition that a column is none of some moments."""
    times = ARRAY(DateTime(timezone=True))
    return column != all_(cast(literal(list(moments), times), times))


def _counted(minutes: Minutes, uncounted: Sequence[datetime]) -> list[Any]:
    """Return the statements for whole hours, for the minutes of cut ones, and for what is not added up yet."""
    hours, deltas = span_times.c, span_detail_deltas.c
    first, last = -(-minutes.since // MINUTES_AN_HOUR), minutes.until // MINUTES_AN_HOUR
    whole = [hours.hour >= _hour(first), hours.hour < _hour(last)]
    cut = {m // MINUTES_AN_HOUR for m in (minutes.since, minutes.until) if m % MINUTES_AN_HOUR}
    cell = func.unnest(hours.cells, type_=BigInteger).column_valued("cell", joins_implicitly=True)
    minute = cast(func.extract("epoch", hours.hour), BigInteger) // 60 + _place(cell) // BUCKETS
    lanes = [hours.hour.in_([_hour(h) for h in sorted(cut)]), minute >= minutes.since, minute < minutes.until]
    fresh = [deltas.minute >= _minute(minutes.since), deltas.minute < _minute(minutes.until)]
    hour = func.date_bin(timedelta(hours=1), deltas.minute, timestamp(0))
    return [
        _cells(hours, hours.hour_cells, [*whole, not_of(hours.hour, uncounted)]),
        _cells(hours, hours.cells, [*lanes, not_of(hours.hour, uncounted)], cell),
        _cells(deltas, deltas.cells, [*fresh, not_of(hour, uncounted)]),
    ]


def _place(cell: Any) -> Any:
    return (cell + _HALF).op(">>")(literal(32, Integer))


def _minute(minute: int) -> datetime:
    return timestamp(minute * US_PER_MINUTE)


def _cells(table: Any, cells: Any, conditions: list[Any], cell: Any = None) -> Any:
    cell = func.unnest(cells, type_=BigInteger).column_valued("cell", joins_implicitly=True) if cell is None else cell
    place = _place(cell)
    bucket = place.op("&")(BUCKETS - 1).label("bucket")
    count = func.sum(cell - place * CELL).label("n")
    statement = select(table.component, table.failed, bucket, count)
    return statement.where(*conditions).group_by(table.component, table.failed, bucket)


def _of_spans(since_ns: int, until_ns: int) -> Any:
    """Return the statement for a window that only the spans can tell of."""
    table = spans.c
    failed = func.coalesce(table.status_code == _ERROR, false()).label("failed")
    bucket = func.otel_ingest_bucket(table.duration_ns, type_=Integer).label("bucket")
    window = (table.time >= timestamp(since_ns // 1000), table.time < timestamp(until_ns // 1000))
    statement = select(table.component, failed, bucket, func.count().label("n"))
    return statement.where(*window, served(table)).group_by(table.component, failed, bucket)


def _add(found: dict[str, Served], rows: Sequence[Any]) -> None:
    for row in rows:
        entry = found.setdefault(row.component, Served())
        entry.requests += int(row.n)
        entry.errors += int(row.n) if row.failed else 0
        entry.histogram[row.bucket] = entry.histogram.get(row.bucket, 0) + int(row.n)


def _hour(hour: int) -> datetime:
    return timestamp(hour * 3_600_000_000)
