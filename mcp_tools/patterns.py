"""logger_patterns: messages by their templates: how many of each, since when, and what another window did not have."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mcp_tools import render
from mcp_tools.answers import Answer, Asked, Bounds, bounds_of
from mcp_tools.emptiness import hints_for_nothing
from mcp_tools.log_filters import LogFilters, log_question
from mcp_tools.pattern_table import Pattern, mark_changes, patterns_of
from storage.filters import LogQuery
from storage.reader import Reader
from storage.views import LogNode, Page

_ENVELOPE_TOKENS = 200
# So many of the newest records of a window are read.
RECORDS_MAX = 10_000
_TEMPLATE_CHARS = 300


class Span(BaseModel):
    """A window of time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: str
    until: str | None = None


class PatternsArguments(LogFilters):
    """Arguments of logger_patterns."""

    compare_to: Literal["none", "previous"] | Span = Field(
        "none", description="previous: the window of the same length before; or {since, until}. Finds new and gone ones"
    )
    limit: int = Field(50, ge=1, le=500)


async def logger_patterns(reader: Reader, args: PatternsArguments, asked: Asked) -> Answer:
    """Return the patterns of the messages."""
    query, bounds = await log_question(reader, args, asked)
    since_ns, until_ns = query.since_ns or 0, min(query.until_ns or asked.now_ns, asked.now_ns + 1)
    now = await read_window(reader, query)
    base_bounds = _base(args, bounds, until_ns, asked.now_ns)
    base = None
    if base_bounds is not None:
        base = await read_window(reader, replace(query, since_ns=base_bounds.since_ns, until_ns=base_bounds.until_ns))
    found, total, base_total = patterns_of(now.items, base.items if base else [], since_ns, until_ns)
    if base is not None:
        found = mark_changes(found, total, base_total)
    rows = [_row(p, total, base_total, compared=base is not None) for p in found[: args.limit]]
    lines = [_line(row) for row in rows]
    kept = render.fit(lines, args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS)
    hints = _hints(now, base, bounds)
    if not found:
        hints += await hints_for_nothing(reader, query)
    return _answer(found, rows[: len(kept)], kept, _Windows(bounds, base_bounds, now, base), hints)


async def read_window(reader: Reader, query: LogQuery, records_max: int | None = None) -> Page[LogNode]:
    """Return the newest records of a window, RECORDS_MAX or so many at most, and how many there are."""
    limit = RECORDS_MAX if records_max is None else records_max
    return await reader.find_messages(replace(query, order="newest", limit=limit, cursor=None))


def _base(args: PatternsArguments, bounds: Bounds, until_ns: int, now_ns: int) -> Bounds | None:
    if isinstance(args.compare_to, Span):
        return bounds_of(args.compare_to.since, args.compare_to.until, now_ns)
    if args.compare_to == "none":
        return None
    since_ns = bounds.since_ns or 0
    return Bounds(max(since_ns - (until_ns - since_ns), 0), since_ns, defaulted=False)


class _Windows:
    """The window that is asked for, and the one it is compared with."""

    def __init__(
        self, bounds: Bounds, base_bounds: Bounds | None, now: Page[LogNode], base: Page[LogNode] | None
    ) -> None:
        self.bounds = bounds
        self.base_bounds = base_bounds
        self.now = now
        self.base = base


def matched_of(page: Page[LogNode]) -> int | str:
    """Return how many records there are; "≥N" where counting stopped."""
    return f"≥{page.matched}" if page.matched_is_lower_bound else page.matched


def _hints(now: Page[LogNode], base: Page[LogNode] | None, bounds: Bounds) -> list[str]:
    """Return how much was read, where that was not all."""
    hints = []
    for page, name in ((now, "the window"), (base, "the window compared with")):
        if page is not None and page.stopped is not None:
            hints.append(
                f"of {name} the search stopped after {page.stopped.searched} of about {page.stopped.about} records; "
                "counts are of these"
            )
        elif page is not None and (page.matched_is_lower_bound or page.matched > len(page.items)):
            hints.append(
                f"of {name} the newest {len(page.items)} of {matched_of(page)} records were read; counts are of these. "
                "A shorter window, a component or severity_min reads all"
            )
    if bounds.defaulted:
        hints.append("the default window of 1 hour was used; set since for more")
    return hints


def _row(p: Pattern, total: int, base_total: int, *, compared: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"change": p.change} if compared else {}
    row |= {"count": p.count, "share": round(p.count / max(total, 1), 4)}
    if compared:
        row |= {"base_count": p.base_count, "base_share": round(p.base_count / max(base_total, 1), 4)}
    return row | {
        "severity": p.severity,
        "component": render.clean(p.component, 120),
        "pattern": render.clean(p.template, _TEMPLATE_CHARS),
        "trend": p.trend(),
        "last": render.time_of(p.sample.time_ns),
        "sample_id": p.sample.id,
    }


def _line(row: dict[str, Any]) -> str:
    before = f" (before: {row['base_count']}, {row['base_share'] * 100:.3g} %)" if "base_count" in row else ""
    trend = f" {row['trend']}" if row["trend"] else ""
    return (
        f"{row.get('change', '')} {row['count']} ({row['share'] * 100:.3g} %){before}{trend} {row['severity']} "
        f"{row['component']} {row['pattern']} (last {row['last']} #{row['sample_id']})"
    ).strip()


def _answer(
    found: list[Pattern], rows: list[dict[str, Any]], lines: list[str], windows: _Windows, hints: list[str]
) -> Answer:
    shown = sum(p.count for p in found[: len(rows)])
    read = sum(p.count for p in found)
    out = len(found) - len(rows)
    matched = matched_of(windows.now)
    changes = ""
    if windows.base is not None:
        number = {c: sum(p.change == c for p in found) for c in ("new", "gone", "shifted")}
        changes = f"; {number['new']} new, {number['gone']} gone, {number['shifted']} shifted"
    summary = f"{len(found)} patterns in {read} of {matched} log records{changes}"
    if out:
        hints = [f"{out} patterns with {read - shown} records are left out: raise max_tokens or limit", *hints]
    fenced = [render.FENCE, *lines, render.FENCE_END] if lines else []
    data = {
        "summary": summary,
        "patterns": rows,
        "returned": shown,
        "left_out": read - shown,
        "records_read": read,
        "matched": matched,
        "base_records_read": len(windows.base.items) if windows.base else None,
        "base_matched": matched_of(windows.base) if windows.base else None,
        "patterns_left_out": out,
        "truncated": out > 0,
        "truncated_by": "max_tokens" if out and len(rows) < len(found) else None,
        "window": windows.bounds.data(),
        "compared_with": windows.base_bounds.data() if windows.base_bounds else None,
        "hints": hints,
        "untrusted_data": True,
    }
    return Answer("\n".join([summary, *hints, *fenced]), data, found=bool(lines))
