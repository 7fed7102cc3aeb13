"""logger_overview: what there is, how it fares, and how fresh it is."""

from dataclasses import asdict, replace

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked, bounds_of
from storage.errors import RetryableStoreError
from storage.reader import Reader


class OverviewArguments(Arguments):
    """Arguments of logger_overview."""

    since: str | None = Field(None, description="Start of the window. Default 1h")
    until: str | None = None


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
