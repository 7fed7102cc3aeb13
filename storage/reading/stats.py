"""Counts: of a component, by group and by time; the components there are."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import and_, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.filters import LogQuery, all_of, log_conditions, timestamp
from storage.mapping import severity_name, us_of
from storage.models import log_records, resources, spans
from storage.reading.common import COUNT_MAX, LOGS
from storage.views import ComponentStats, LogCount

_GROUPS = {
    "component": log_records.c.component,
    "severity": log_records.c.severity_number,
    "event_name": log_records.c.event_name,
}


async def component_stats(connection: AsyncConnection, since_ns: int, until_ns: int) -> list[ComponentStats]:
    """Return what each component logged and traced in [since, until), the busiest first."""
    logs = log_records.c
    seen: dict[str, dict[str, Any]] = {}
    window = and_(logs.time >= timestamp(since_ns // 1000), logs.time < timestamp(-(-until_ns // 1000)))
    by_severity = select(
        logs.component,
        logs.severity_number,
        func.count().label("n"),
        func.max(logs.time).label("last"),
    )
    table = spans.c
    in_window = and_(table.time >= timestamp(since_ns // 1000), table.time < timestamp(-(-until_ns // 1000)))
    errors = func.count().filter(table.status_code == 2)  # noqa: PLR2004 - Status.STATUS_CODE_ERROR
    by_span = select(
        table.component,
        func.count().label("n"),
        errors.label("errors"),
        func.max(table.time).label("last"),
    )
    statement = by_severity.where(window).group_by(logs.component, logs.severity_number)
    for row in await connection.execute(statement):
        entry = seen.setdefault(row.component, {"by_severity": {}, "spans": 0, "errors": 0, "last": 0})
        name = severity_name(row.severity_number)
        entry["by_severity"][name] = entry["by_severity"].get(name, 0) + row.n
        entry["last"] = max(entry["last"], us_of(row.last) * 1000)
    for row in await connection.execute(by_span.where(in_window).group_by(table.component)):
        entry = seen.setdefault(row.component, {"by_severity": {}, "spans": 0, "errors": 0, "last": 0})
        entry["spans"], entry["errors"] = row.n, row.errors
        entry["last"] = max(entry["last"], us_of(row.last) * 1000)
    stats = [
        ComponentStats(
            component=component,
            by_severity=entry["by_severity"],
            log_count=sum(entry["by_severity"].values()),
            span_count=entry["spans"],
            error_span_count=entry["errors"],
            last_seen_ns=entry["last"],
        )
        for component, entry in seen.items()
    ]
    return sorted(stats, key=lambda s: (-s.log_count - s.span_count, s.component))


async def log_counts(
    connection: AsyncConnection,
    query: LogQuery,
    group_by: Sequence[Literal["component", "severity", "event_name"]] = (),
    interval_s: int | None = None,
    top: int = 200,
) -> list[LogCount]:
    """Return exact counts by group and bin of time, at most ``top`` of them, oldest and largest first."""
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
    statement = statement.order_by(*(text(b.name) for b in bins), count.desc()).limit(top)
    rows = (await connection.execute(statement)).all()
    return [
        LogCount(
            group={n: _group_value(n, getattr(r, f"by_{n}")) for n in group_by},
            start_ns=us_of(r.bin_start) * 1000 if bins else None,
            count=r.n,
        )
        for r in rows
    ]


async def components(connection: AsyncConnection) -> list[str]:
    """Return the names of all components ever seen."""
    statement = select(resources.c.component).distinct().order_by(resources.c.component).limit(COUNT_MAX)
    return list((await connection.execute(statement)).scalars())


def _group_value(name: str, value: Any) -> str:
    return severity_name(value) if name == "severity" else str(value)
