"""logger_overview: what there is, how it fares against just before, what is new, and how fresh it is."""

import asyncio
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked, Bounds, bounds_of, check_component
from mcp_tools.pattern_table import Pattern, mark_changes, patterns_of
from storage.errors import QueryTimeout, RetryableStoreError
from storage.filters import LogQuery
from storage.reader import Reader
from storage.views import ComponentStats, LevelOverride, StoreInfo

_ENVELOPE_TOKENS = 200
# Of each window so many of the newest warnings and errors are mined for patterns.
_MESSAGES_MAX = 2_000
# Clocks of machines that keep time are not further apart; OpenTelemetry began in May 2019.
_CLOCKS_APART_NS = 300 * read.NS
_OPENTELEMETRY_NS = 1_556_668_800 * read.NS
_PATTERNS_SHOWN = 5
_LEVELS_SHOWN = 10
_SIGNALS = {"log_records": "logs", "spans": "spans", "metric_points": "metrics"}


class OverviewArguments(Arguments):
    """Arguments of logger_overview."""

    since: str | None = Field(None, description="Default 1h")
    until: str | None = None
    component: str | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that was read for an overview; ``before``: the window of the same length before."""

    info: StoreInfo
    now: list[ComponentStats]
    before: dict[str, ComponentStats]
    new: list[Pattern]
    levels: list[LevelOverride]
    hints: list[str]


async def logger_overview(reader: Reader, args: OverviewArguments, asked: Asked) -> Answer:
    """Return what is there: components with counts, edges of the store, how fresh it is."""
    await check_component(reader, args.component)
    bounds = bounds_of(args.since, args.until, asked.now_ns)
    spooled = reader.spooled()
    try:
        seen = await _read(reader, args.component, bounds, asked)
    except RetryableStoreError as error:
        if spooled is None or not spooled.requests:
            raise
        raise RetryableStoreError(f"{error}; {replace(spooled, state='waiting for PostgreSQL')}") from error
    newest = max((t for t in seen.info.newest_ns.values() if t), default=None)
    if newest is not None and newest > asked.now_ns + _CLOCKS_APART_NS:
        lag, newest = f"is dated {render.time_of(newest)}", None
    else:
        lag = f"{max(0, asked.now_ns - newest) / read.NS:.1f} s ago" if newest else "never"
    summary = f"{len(seen.now)} components active; newest record {lag}; {_edges(seen.info)}"
    if spooled is not None and (spooled.requests or spooled.set_aside_bytes):
        summary += f"; {spooled}"
    rows, lines = _rows(seen), _lines(seen)
    kept = render.fit(lines, args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS)
    out = len(lines) - len(kept)
    hints = [*([f"{out} more lines (components last): raise max_tokens"] if out else []), *seen.hints]
    if seen.info.rejected_last_day:
        hints.append(
            f"{seen.info.rejected_last_day} records rejected in the last 24 h: `otel-ingest rejected` shows why"
        )
    hints += _wrong_clocks(seen.info, asked.now_ns)
    now = f"now {render.time_of(asked.now_ns)}; you have the role {asked.role}"
    return Answer(
        "\n".join([f"{now}; {summary}", *hints, render.FENCE, *kept, render.FENCE_END]),
        {
            "summary": summary,
            "now": render.time_of(asked.now_ns),
            "role": asked.role,
            "window": bounds.data(),
            **_sorted_out(rows[: len(kept)]),
            "components_left_out": len(seen.now) - sum(r["what"] == "component" for r in rows[: len(kept)]),
            "left_out": out,
            "store": asdict(seen.info),
            "spool": None if spooled is None else asdict(spooled),
            "freshness_lag_ms": None if newest is None else max(0, asked.now_ns - newest) // 1_000_000,
            "hints": hints,
            "untrusted_data": True,
        },
        found=bool(seen.now),
    )


async def _read(reader: Reader, component: str | None, bounds: Bounds, asked: Asked) -> _Seen:
    since_ns = bounds.since_ns or 0
    until_ns = min(bounds.until_ns, max(asked.now_ns, since_ns + 1))
    earlier_ns = max(since_ns - (until_ns - since_ns), 0)
    info, stats, stats_before = await asyncio.gather(
        reader.store_info(),
        reader.component_stats(since_ns, bounds.until_ns),
        reader.component_stats(earlier_ns, since_ns),
    )
    now = [s for s in stats if component in {None, s.component}]
    before = {s.component: s for s in stats_before}
    new: list[Pattern] = []
    hints: list[str] = []
    try:
        loud = LogQuery(component=component, severity_min=read.SEVERITIES["warn"], limit=_MESSAGES_MAX)
        messages = await reader.read_messages(replace(loud, since_ns=since_ns, until_ns=bounds.until_ns))
        base = await reader.read_messages(replace(loud, since_ns=earlier_ns, until_ns=since_ns))
        new = [p for p in mark_changes(*patterns_of(messages, base, since_ns, until_ns)) if p.change == "new"]
        if len(base) == _MESSAGES_MAX:
            hints.append(f"new patterns are against the newest {_MESSAGES_MAX} warnings of the window before")
    except QueryTimeout:
        hints.append("patterns took too long; logger_patterns of a component or a shorter window finds them")
    levels = await asked.control.active_levels(component) if asked.control is not None else []
    return _Seen(info, now, before, new, levels, hints)


def _edges(info: StoreInfo) -> str:
    kept = [f"{name} since {render.time_of(t)}" for table, name in _SIGNALS.items() if (t := info.oldest_ns.get(table))]
    return f"kept: {', '.join(kept)}" if kept else "nothing kept yet"


def _wrong_clocks(info: StoreInfo, now_ns: int) -> list[str]:
    """Return a hint where records are dated as only a wrong clock, or a unit mistaken, dates them."""
    ahead = max((t for t in info.newest_ns.values() if t), default=0)
    behind = min((t for t in info.oldest_ns.values() if t), default=now_ns)
    found = [f"{render.time_of(ahead)}, ahead of this server's clock"] if ahead > now_ns + _CLOCKS_APART_NS else []
    found += [f"{render.time_of(behind)}, before OpenTelemetry was"] if behind < _OPENTELEMETRY_NS else []
    if not found:
        return []
    return [f"records are dated {' and '.join(found)}: a sender's clock or unit is wrong; since and until reach them"]


def _rows(seen: _Seen) -> list[dict[str, Any]]:
    """Return what is new, what is in force, then the components, each as data."""
    rows: list[dict[str, Any]] = [
        {
            "what": "new_pattern", "severity": p.severity, "component": render.clean(p.component, 120),
            "pattern": render.clean(p.template, 200), "count": p.count, "sample_id": p.sample.id,
        }
        for p in seen.new[:_PATTERNS_SHOWN]
    ]  # fmt: skip
    rows += [
        {
            "what": "level", "component": render.clean(o.component, 120), "logger": render.clean(o.logger, 120),
            "level": o.level, "until": render.time_of(o.expires_at_ns),
        }
        for o in seen.levels[:_LEVELS_SHOWN]
    ]  # fmt: skip
    for s in seen.now:
        rate, before = _error_rate(s), _error_rate(seen.before.get(s.component))
        rows.append(
            {"what": "component"}
            | asdict(s)
            | {"component": render.clean(s.component, 120), "error_rate": rate, "error_rate_before": before}
        )
    return rows


def _error_rate(s: ComponentStats | None) -> float | None:
    """Return the share of log records and spans that are errors; None where there are none at all."""
    if s is None or not s.log_count + s.span_count:
        return None
    failed = s.by_severity.get("ERROR", 0) + s.by_severity.get("FATAL", 0) + s.error_span_count
    return round(failed / (s.log_count + s.span_count), 4)


def _lines(seen: _Seen) -> list[str]:
    lines = [
        f"new: {p.severity} {render.clean(p.component, 120)} {render.clean(p.template, 200)} "
        f"×{p.count} (#{p.sample.id})"
        for p in seen.new[:_PATTERNS_SHOWN]
    ]
    lines += [
        f"level {o.level} of {render.clean(o.component, 120)} {render.clean(o.logger, 120)} until "
        f"{render.time_of(o.expires_at_ns)}"
        for o in seen.levels[:_LEVELS_SHOWN]
    ]
    for s in seen.now:
        counts = "".join(f" {name} {count}" for name, count in sorted(s.by_severity.items()))
        rate, before = _error_rate(s), _error_rate(seen.before.get(s.component))
        trend = f"  errors {_percent(rate)} (before: {_percent(before)})" if rate or before else ""
        lines.append(
            f"{render.clean(s.component, 120)}  logs {s.log_count}{counts}  spans {s.span_count}, "
            f"{s.error_span_count} errors{trend}  last {render.time_of(s.last_seen_ns)}"
        )
    return lines


def _percent(share: float | None) -> str:
    return "no data" if share is None else f"{share * 100:.3g} %"


def _sorted_out(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows by what they are."""
    names = {"new_pattern": "new_patterns", "level": "levels", "component": "components"}
    return {
        name: [{k: v for k, v in row.items() if k != "what"} for row in rows if row["what"] == what]
        for what, name in names.items()
    }
