"""Counts: of a component, by group and by time; the components there are. From the roll-ups where those can tell."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from sqlalchemy import ARRAY, ColumnElement, Select, Table, Text, case, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.count_models import LOG_COUNTS, SPAN_COUNTS
from storage.filters import LogQuery, all_of, log_conditions, timestamp
from storage.mapping import severity_name, us_of
from storage.models import log_records, resources, spans
from storage.reading.common import COUNT_MAX, LOGS
from storage.reading.rollups import Bins, Minutes, bins, cells, edge
from storage.views import ComponentStats, LogCounts

Group = Literal["component", "severity", "event_name"]
_MINUTE_S = 60
_ERROR = 2
# What a question may ask for that the roll-ups know of.
_COUNTED = {"component", "severity_min", "since_ns", "until_ns", "order", "limit", "cursor"}
_NOTHING_ASKED = LogQuery()
_COLUMNS = {"component": "component", "severity": LOG_COUNTS.code.name}
_SEVERITY = log_records.c.severity_number
_GROUPS: dict[str, ColumnElement[Any]] = {
    "component": log_records.c.component,
    # One number for all of a name; 0 is none (storage.mapping.severity_name).
    "severity": case((_SEVERITY.between(1, 24), (_SEVERITY - 1) // 4 * 4 + 1), else_=0),
    "event_name": log_records.c.event_name,
}


async def log_counts(
    connection: AsyncConnection,
    query: LogQuery,
    group_by: Sequence[Group] = (),
    interval_s: int | None = None,
    top: int = 200,
) -> LogCounts:
    """Return exact counts by group and bin of time, the oldest bin and the largest count first; bins begin at 1970.

    Past ``top`` of them the oldest bins are left out, or the smallest counts where there are no bins.
    """
    minutes = _minutes_of(query, group_by, interval_s)
    if minutes is None:
        found = await _from_rows(connection, query, group_by, interval_s, top)
    else:
        found = await _from_counts(connection, query, minutes, group_by, interval_s)
    names = sorted(found)
    # Tens of thousands of bins, of few groups: rows of numbers, and no object for each until it is asked for.
    rows = [(start or 0, -count, n) for n, name in enumerate(names) for start, count in found[name].items() if count]
    rows.sort()
    if len(rows) > top:
        rows = _newest(rows, top)
    return LogCounts(
        groups=[{name: _shown(name, value) for name, value in zip(group_by, values, strict=True)} for values in names],
        group=[n for _, _, n in rows],
        start_ns=[None if interval_s is None else start * 1000 for start, _, _ in rows],
        counts=[-count for _, count, _ in rows],
    )


def _newest(rows: list[tuple[int, int, int]], top: int) -> list[tuple[int, int, int]]:
    """Return the ``top`` last of rows in order of (start, -count, group); of a bin that is cut, its largest counts."""
    cut = rows[len(rows) - top][0]
    before = bisect_left(rows, (cut,))
    behind = bisect_left(rows, (cut + 1,))
    return rows[before : before + top - (len(rows) - behind)] + rows[behind:]


async def count_logs(connection: AsyncConnection, query: LogQuery) -> int | None:
    """Return exactly how many records match; None where only the rows can tell."""
    minutes = _minutes_of(query, (), None)
    if minutes is None:
        return None
    found = await _from_counts(connection, query, minutes, (), None)
    return sum(sum(of_group.values()) for of_group in found.values())


def _minutes_of(query: LogQuery, group_by: Sequence[str], interval_s: int | None) -> Minutes | None:
    """Return the whole minutes of a question that the roll-ups answer; None: the rows must."""
    asked = {f.name for f in fields(query) if getattr(query, f.name) != getattr(_NOTHING_ASKED, f.name)}
    if asked - _COUNTED or not set(group_by) <= set(_COLUMNS) or (interval_s or 0) % _MINUTE_S:
        return None
    return Minutes.within(query.since_ns, query.until_ns)


async def _from_counts(
    connection: AsyncConnection, query: LogQuery, minutes: Minutes, group_by: Sequence[str], interval_s: int | None
) -> Bins:
    columns = [_COLUMNS[name] for name in group_by]
    parts = (
        replace(query, since_ns=since_ns, until_ns=until_ns, cursor=None)
        for since_ns, until_ns in minutes.edges(query.since_ns, query.until_ns)
    )
    binned = interval_s is not None
    found = await bins(
        connection,
        LOG_COUNTS,
        minutes,
        where=[] if query.component is None else [("component", query.component)],
        least_code=query.severity_min,
        group_by=columns,
        interval_s=interval_s,
        edges=[edge(log_records, columns, log_conditions(part), binned=binned) for part in parts],
    )
    if "severity" not in group_by:
        return found
    merged: Bins = {}
    for values, of_group in found.items():
        into = merged.setdefault(tuple(map(_grouped, group_by, values)), {})
        for start, count in of_group.items():
            into[start] = into.get(start, 0) + count
    return merged


async def _from_rows(
    connection: AsyncConnection, query: LogQuery, group_by: Sequence[str], interval_s: int | None, top: int
) -> Bins:
    # Labels of our own: a bare name in GROUP BY could as well be a column of resources.
    keys = [_GROUPS[name].label(f"by_{name}") for name in group_by]
    bin_start = []
    if interval_s is not None:
        width = func.make_interval(0, 0, 0, 0, 0, 0, interval_s)
        bin_start = [func.date_bin(width, log_records.c.time, timestamp(0)).label("bin_start")]
    count = func.count().label("n")
    statement = select(*bin_start, *keys, count).select_from(LOGS).where(all_of(log_conditions(query)))
    labels = [k.name for k in [*bin_start, *keys]]
    if labels:
        statement = statement.group_by(*(text(name) for name in labels))
    statement = statement.order_by(*(text(f"{b.name} DESC") for b in bin_start), count.desc()).limit(top)
    found: Bins = {}
    for row in await connection.execute(statement):
        start = us_of(row.bin_start) if bin_start else None
        found.setdefault(tuple(getattr(row, key.name) for key in keys), {})[start] = row.n
    return found


def _grouped(name: str, value: Any) -> Any:
    """Return what ``_GROUPS`` says of a value of its column."""
    if name != "severity":
        return value
    return (value - 1) // 4 * 4 + 1 if 1 <= value <= 24 else 0  # noqa: PLR2004 - the specification's numbers


def _shown(name: str, value: Any) -> str:
    return severity_name(value) if name == "severity" else str(value)


@dataclass(slots=True)
class _Seen:
    """One component while it is added up."""

    by_severity: Counter[str] = field(default_factory=Counter)
    spans: int = 0
    errors: int = 0
    last_us: int = 0


async def component_stats(connection: AsyncConnection, since_ns: int, until_ns: int) -> list[ComponentStats]:
    """Return what each component logged and traced in [since, until), to the microsecond, the busiest first."""
    since_ns, until_ns = since_ns // 1000 * 1000, -(-until_ns // 1000) * 1000
    seen: dict[str, _Seen] = {}
    for (component, severity), n in (await _by_kind(connection, log_records, since_ns, until_ns)).items():
        seen.setdefault(component, _Seen()).by_severity[severity_name(severity)] += n
    for (component, status), n in (await _by_kind(connection, spans, since_ns, until_ns)).items():
        entry = seen.setdefault(component, _Seen())
        entry.spans += n
        entry.errors += n if status == _ERROR else 0
    for table in (log_records, spans):
        for row in await connection.execute(_last_seen(table, list(seen), since_ns, until_ns)):
            if row.last is not None:
                seen[row.component].last_us = max(seen[row.component].last_us, us_of(row.last))
    stats = [
        ComponentStats(
            component=component,
            by_severity=dict(entry.by_severity),
            log_count=entry.by_severity.total(),
            span_count=entry.spans,
            error_span_count=entry.errors,
            last_seen_ns=entry.last_us * 1000,
        )
        for component, entry in seen.items()
    ]
    return sorted(stats, key=lambda s: (-s.log_count - s.span_count, s.component))


async def _by_kind(connection: AsyncConnection, table: Table, since_ns: int, until_ns: int) -> Counter[tuple[str, int]]:
    """Return {(component, severity number or status code): rows} of a window, by one statement."""
    counted = LOG_COUNTS if table is log_records else SPAN_COUNTS
    names = ("component", counted.code.name)
    found: Counter[tuple[str, int]] = Counter()
    minutes = Minutes.within(since_ns, until_ns)
    if minutes is None:
        kind = func.coalesce(table.c[names[1]], 0).label("kind")
        rows = select(table.c.component, kind, func.count().label("n")).group_by(table.c.component, kind)
        for row in await connection.execute(rows.where(*_between(table, since_ns, until_ns))):
            found[row.component, row.kind] += row.n
        return found
    parts = [
        edge(table, names, _between(table, since, until), binned=False)
        for since, until in minutes.edges(since_ns, until_ns)
    ]
    for (_, (component, code)), cell in (
        await cells(connection, counted, minutes, group_by=names, edges=parts)
    ).items():
        found[component, code or 0] += cell.count
    return found


def _between(table: Table, since_ns: int, until_ns: int) -> list[ColumnElement[bool]]:
    return [table.c.time >= timestamp(since_ns // 1000), table.c.time < timestamp(until_ns // 1000)]


def _last_seen(table: Table, components: list[str], since_ns: int, until_ns: int) -> Select[Any]:
    """Return the statement for the newest row of each component: a look into an index each."""
    # A name that no column has: SQL would take the column for it.
    names = func.unnest(cast(components, ARRAY(Text))).column_valued("seen")
    newest = select(table.c.time).where(table.c.component == names, *_between(table, since_ns, until_ns))
    newest = newest.order_by(table.c.time.desc()).limit(1)
    return select(names.label("component"), newest.scalar_subquery().label("last"))


async def components(connection: AsyncConnection) -> list[str]:
    """Return the names of all components ever seen."""
    statement = select(resources.c.component).distinct().order_by(resources.c.component).limit(COUNT_MAX)
    return list((await connection.execute(statement)).scalars())
