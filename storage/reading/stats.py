"""Counts: of a component, by group and by time; the components there are. From the roll-ups where those can tell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from sqlalchemy import ARRAY, ColumnElement, Select, Table, Text, case, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.filters import LogQuery, all_of, log_conditions, timestamp
from storage.mapping import severity_name, us_of
from storage.models import LOG_COUNTS, SPAN_COUNTS, log_records, resources, spans
from storage.reading.common import COUNT_MAX, LOGS
from storage.reading.rollups import Minutes, cells
from storage.views import ComponentStats, LogCount

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
_Bins = Counter[tuple[int | None, tuple[Any, ...]]]
"""(start of the bin in microseconds since 1970 or None, values of the groups) -> records."""


async def log_counts(
    connection: AsyncConnection,
    query: LogQuery,
    group_by: Sequence[Group] = (),
    interval_s: int | None = None,
    top: int = 200,
) -> list[LogCount]:
    """Return exact counts by group and bin of time, the oldest bin and the largest count first; bins begin at 1970.

    Past ``top`` of them the oldest bins are left out, or the smallest counts where there are no bins.
    """
    minutes = _minutes_of(query, group_by, interval_s)
    if minutes is None:
        bins = await _from_rows(connection, query, group_by, interval_s, top)
    else:
        bins = await _from_counts(connection, query, minutes, group_by, interval_s)
        for since_ns, until_ns in minutes.edges(query.since_ns, query.until_ns):
            part = replace(query, since_ns=since_ns, until_ns=until_ns, cursor=None)
            bins += await _from_rows(connection, part, group_by, interval_s, None)
    newest = sorted(bins.items(), key=lambda item: (-(item[0][0] or 0), -item[1], item[0][1]))[:top]
    newest.sort(key=lambda item: item[0][0] or 0)
    # Tens of thousands of bins are of few groups: each is made once.
    groups: dict[tuple[Any, ...], dict[str, str]] = {
        group: {name: _shown(name, value) for name, value in zip(group_by, group, strict=True)}
        for group in {group for (_, group), _ in newest}
    }
    return [
        LogCount(group=groups[group], start_ns=None if start is None else start * 1000, count=count)
        for (start, group), count in newest
    ]


async def count_logs(connection: AsyncConnection, query: LogQuery) -> int | None:
    """Return exactly how many records match; None where only the rows can tell."""
    minutes = _minutes_of(query, (), None)
    if minutes is None:
        return None
    bins = await _from_counts(connection, query, minutes, (), None)
    for since_ns, until_ns in minutes.edges(query.since_ns, query.until_ns):
        part = replace(query, since_ns=since_ns, until_ns=until_ns, cursor=None)
        bins += await _from_rows(connection, part, (), None, None)
    return bins.total()


def _minutes_of(query: LogQuery, group_by: Sequence[str], interval_s: int | None) -> Minutes | None:
    """Return the whole minutes of a question that the roll-ups answer; None: the rows must."""
    asked = {f.name for f in fields(query) if getattr(query, f.name) != getattr(_NOTHING_ASKED, f.name)}
    if asked - _COUNTED or not set(group_by) <= set(_COLUMNS) or (interval_s or 0) % _MINUTE_S:
        return None
    return Minutes.within(query.since_ns, query.until_ns)


async def _from_counts(
    connection: AsyncConnection, query: LogQuery, minutes: Minutes, group_by: Sequence[str], interval_s: int | None
) -> _Bins:
    where = [] if query.component is None else [("component", query.component)]
    columns = [_COLUMNS[name] for name in group_by]
    found = await cells(
        connection,
        LOG_COUNTS,
        minutes,
        where=where,
        least_code=query.severity_min,
        group_by=columns,
        interval_s=interval_s,
    )
    if "severity" not in group_by:
        return Counter({key: cell.count for key, cell in found.items()})
    bins: _Bins = Counter()
    for (start, group), cell in found.items():
        bins[start, tuple(map(_grouped, group_by, group))] += cell.count
    return bins


async def _from_rows(
    connection: AsyncConnection, query: LogQuery, group_by: Sequence[str], interval_s: int | None, top: int | None
) -> _Bins:
    # Labels of our own: a bare name in GROUP BY could as well be a column of resources.
    keys = [_GROUPS[name].label(f"by_{name}") for name in group_by]
    bins = []
    if interval_s is not None:
        width = func.make_interval(0, 0, 0, 0, 0, 0, interval_s)
        bins = [func.date_bin(width, log_records.c.time, timestamp(0)).label("bin_start")]
    count = func.count().label("n")
    statement = select(*bins, *keys, count).select_from(LOGS).where(all_of(log_conditions(query)))
    labels = [k.name for k in [*bins, *keys]]
    if labels:
        statement = statement.group_by(*(text(name) for name in labels))
    if top is not None:
        statement = statement.order_by(*(text(f"{b.name} DESC") for b in bins), count.desc()).limit(top)
    found: _Bins = Counter()
    for row in await connection.execute(statement):
        start = us_of(row.bin_start) if bins else None
        found[start, tuple(getattr(row, key.name) for key in keys)] += row.n
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
    """Return {(component, severity number or status code): rows} of a window."""
    counted = LOG_COUNTS if table is log_records else SPAN_COUNTS
    names = ("component", counted.code.name)
    minutes = Minutes.within(since_ns, until_ns)
    found: Counter[tuple[str, int]] = Counter()
    edges = [(since_ns, until_ns)]
    if minutes is not None:
        edges = minutes.edges(since_ns, until_ns)
        for (_, (component, code)), cell in (await cells(connection, counted, minutes, group_by=names)).items():
            found[component, code] += cell.count
    kind = func.coalesce(table.c[names[1]], 0).label("kind")
    rows = select(table.c.component, kind, func.count().label("n")).group_by(table.c.component, kind)
    for since, until in edges:
        for row in await connection.execute(rows.where(*_between(table, since, until))):
            found[row.component, row.kind] += row.n
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
