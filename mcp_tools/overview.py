"""logger_overview and logger_stats: what there is, and how much of it."""

from dataclasses import asdict, replace
from typing import Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked, Attributes, Window, bounds_of, check_component
from mcp_tools.errors import UserInputError
from storage.errors import RetryableStoreError
from storage.filters import LogQuery
from storage.reader import Reader

_INTERVAL_S_MAX = 366 * 86_400
Group = Literal["component", "severity", "event_name"]


class OverviewArguments(Arguments):
    """Arguments of logger_overview."""

    since: str | None = Field(None, description="Start of the window. Default 1h")
    until: str | None = None


class StatsArguments(Window):
    """Arguments of logger_stats."""

    group_by: list[Group] = Field(default=["component", "severity"], max_length=3)
    interval: str | None = Field(None, description='Width of a time bin, for example "1m"; none: one total')
    severity_min: str | None = None
    text: str | None = Field(None, min_length=1)
    attributes: Attributes = Field(default_factory=dict)
    top: int = Field(100, ge=1, le=1000)


async def logger_overview(reader: Reader, args: OverviewArguments, asked: Asked) -> Answer:
    """Return what is there: components with counts, edges of the store, how fresh it is."""
    bounds = bounds_of(args.since, args.until, asked.now_ns)
    spooled = reader.spooled()
    try:
        info = await reader.store_info()
        stats = await reader.component_stats(bounds.since_ns or 0, bounds.until_ns)
    except RetryableStoreError as error:
        if spooled is None or not spooled.requests:
            raise
        raise RetryableStoreError(f"{error}; {replace(spooled, state='waiting for PostgreSQL')}") from error
    newest = max((t for t in info.newest_ns.values() if t), default=None)
    oldest = min((t for t in info.oldest_ns.values() if t), default=None)
    lag = f"{max(0, asked.now_ns - newest) / read.NS:.1f} s ago" if newest else "never"
    kept_since = render.time_of(oldest) if oldest else "none"
    summary = f"{len(stats)} components active; newest record {lag}; oldest kept {kept_since}"
    if spooled is not None and (spooled.requests or spooled.set_aside_bytes):
        summary += f"; {spooled}"
    lines = [
        f"{render.clean(s.component, 120)}  logs {s.log_count}"
        + "".join(f" {name} {count}" for name, count in sorted(s.by_severity.items()))
        + f"  spans {s.span_count}, {s.error_span_count} errors  last {render.time_of(s.last_seen_ns)}"
        for s in stats
    ]
    kept = render.fit(lines, args.max_tokens)
    out = [f"{len(lines) - len(kept)} more components: raise max_tokens"] if len(kept) < len(lines) else []
    if info.rejected_last_day:
        out.append(f"{info.rejected_last_day} records rejected in the last 24 h: `otel-ingest rejected` shows why")
    now = f"now {render.time_of(asked.now_ns)}; you have the role {asked.role}"
    text = "\n".join([f"{now}; {summary}", *out, render.FENCE, *kept, render.FENCE_END])
    data = {
        "summary": summary,
        "now": render.time_of(asked.now_ns),
        "role": asked.role,
        "window": bounds.data(),
        "components": [asdict(s) | {"component": render.clean(s.component, 120)} for s in stats[: len(kept)]],
        "components_left_out": len(lines) - len(kept),
        "store": asdict(info),
        "spool": None if spooled is None else asdict(spooled),
        "freshness_lag_ms": None if newest is None else max(0, asked.now_ns - newest) // 1_000_000,
        "untrusted_data": True,
    }
    return Answer(text, data, found=bool(stats))


async def logger_stats(reader: Reader, args: StatsArguments, asked: Asked) -> Answer:
    """Return exact counts of log records by group and time bin."""
    await check_component(reader, args.component)
    bounds = bounds_of(args.since, args.until, asked.now_ns)
    interval_s = None
    if args.interval:
        interval_s = read.duration_ns(args.interval, "interval") // read.NS
        if not 1 <= interval_s <= _INTERVAL_S_MAX:
            raise UserInputError(
                "INVALID_DURATION",
                f'interval={args.interval!r} must be 1s to 366d, for example "1m"',
            )
    query = LogQuery(
        component=args.component,
        severity_min=read.severity(args.severity_min) if args.severity_min else None,
        text=args.text,
        attributes=args.attributes,
        since_ns=bounds.since_ns,
        until_ns=bounds.until_ns,
    )
    counts = await reader.log_counts(query, list(dict.fromkeys(args.group_by)), interval_s, args.top + 1)
    cut = len(counts) > args.top
    rows = [
        {"start": render.time_of(c.start_ns) if c.start_ns is not None else None}
        | {k: render.clean(str(v), 120) for k, v in c.group.items()}
        | {"count": c.count}
        for c in counts[: args.top]
    ]
    lines = ["  ".join(str(v) for v in row.values() if v is not None) for row in rows]
    kept = render.fit(lines, args.max_tokens)
    total = sum(c.count for c in counts[: len(kept)])
    more = cut or len(kept) < len(rows)
    summary = f"{total} log records in {len(kept)} groups" + (
        "; there are more groups: raise top or max_tokens" if more else ""
    )
    text = "\n".join([summary, *([render.FENCE, *kept, render.FENCE_END] if kept else [])])
    data = {
        "summary": summary,
        "groups": rows[: len(kept)],
        "truncated": more,
        "window": bounds.data(),
        "untrusted_data": True,
    }
    return Answer(text, data, found=bool(kept))
