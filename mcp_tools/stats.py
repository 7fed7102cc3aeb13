"""logger_stats: exact numbers by group and bin of time; what is not shown is one remainder, so that sums are right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Asked, Bounds
from mcp_tools.errors import UserInputError
from mcp_tools.log_filters import LogFilters
from mcp_tools.selecting import selection_of, unknown_field
from storage.filters import LogQuery
from storage.reader import Reader
from storage.reading.aggregates import Aggregate, Aggregated, Cell
from storage.reading.signals import Selection, Signal, fields_of
from storage.views import LogCount

Measure = Literal[
    "count", "rate", "sum", "avg", "min", "max", "p50", "p75", "p90", "p95", "p99", "count_distinct"
]  # fmt: skip
_INTERVAL_S_MAX = 366 * 86_400
_ENVELOPE_TOKENS = 140
# What the roll-ups answer by themselves.
_QUICK_GROUPS = {"component", "severity", "event_name"}
_QUICK_ROWS_MAX = 20_000
_DIGITS = 3


class StatsArguments(LogFilters):
    """Arguments of logger_stats."""

    unlisted: ClassVar[frozenset[str]] = LogFilters.unlisted | {"text", "severity_min"}

    signal: Signal = "logs"
    agg: Measure = Field("count", description="rate is per second; others but count need numbers in field")
    field: str | None = Field(None, description="Attribute key; spans have duration (ms), metrics value, by default")
    name: str | None = Field(None, description="Span or metric name")
    group_by: list[str] | None = Field(
        None, max_length=3, description="component, severity, name, status, any attribute key"
    )
    interval: str | None = Field(None, description='Width of a time bin, for example "1m"; none: one total')
    top: int = Field(20, ge=1, le=1000, description="Groups; the rest is one row")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked, ready to be asked of the store."""

    ask: Aggregate
    label: str
    """What a value is called."""
    per_s: float | None
    """Seconds of a bin, or of the window, where the value is a rate."""


async def logger_stats(reader: Reader, args: StatsArguments, asked: Asked) -> Answer:
    """Return the numbers."""
    selection, bounds = await selection_of(reader, args, args.signal, args.name, asked)
    question = _question(args, selection, bounds, asked.now_ns)
    top = args.top
    while True:
        found = await _ask(reader, replace(question.ask, top=top))
        rows = [_row(cell, question, found.other_groups) for cell in found.cells]
        lines = [_line(row, question) for row in rows]
        kept = render.fit(lines, args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS)
        if len(kept) == len(lines) or len(lines) == 1:
            break
        if top == 0 or not question.ask.group_by:
            raise UserInputError(
                "INVALID_DURATION",
                f"interval={args.interval!r} makes {len(lines)} bins; {len(kept)} fit in max_tokens={args.max_tokens}. "
                "Take a longer interval, or a shorter window",
            )
        # Whole groups go, over all bins, into the remainder; a little less than the share that fitted.
        top = min(top, found.groups) * len(kept) // (len(lines) + 1)
    await _check_names(reader, question, found)
    return _answer(question, found, rows, lines, bounds, cut=top < args.top)


def _question(args: StatsArguments, selection: Selection, bounds: Bounds, now_ns: int) -> _Asked:
    interval_s = _interval_s(args.interval)
    default = ["component", "severity"] if args.signal == "logs" else ["component", "name"]
    group_by = list(dict.fromkeys(default if args.group_by is None else args.group_by))
    needs_field = args.signal == "logs" and args.agg not in {"count", "rate"}
    if (needs_field or args.agg == "count_distinct") and not args.field:
        or_spans = "" if args.agg == "count_distinct" else ', or signal="spans" for durations'
        raise UserInputError("INVALID_ARGUMENT", f"agg={args.agg} needs field= (logger_fields lists them){or_spans}")
    window_s = (min(bounds.until_ns, max(now_ns, (bounds.since_ns or 0) + read.NS)) - (bounds.since_ns or 0)) / read.NS
    field = args.field or {"spans": "duration", "metrics": "value"}.get(args.signal, "")
    unit = "_ms" if args.signal == "spans" and field == "duration" else ""
    label = {"count": "count", "rate": "per_s"}.get(args.agg, f"{args.agg}_{field}{unit}")
    ask = Aggregate(
        selection=selection,
        measure="count" if args.agg == "rate" else args.agg,
        field=args.field,
        group_by=group_by,
        interval_s=interval_s,
        top=args.top,
    )
    return _Asked(ask, label, (interval_s or window_s) if args.agg == "rate" else None)


def _interval_s(interval: str | None) -> int | None:
    if interval is None:
        return None
    interval_s = read.duration_ns(interval, "interval") // read.NS
    if not 1 <= interval_s <= _INTERVAL_S_MAX:
        raise UserInputError("INVALID_DURATION", f'interval={interval!r} must be 1s to 366d, for example "1m"')
    return interval_s


async def _ask(reader: Reader, ask: Aggregate) -> Aggregated:
    """Ask the roll-ups where they can tell, else the rows."""
    query = ask.selection.query
    quick = (
        isinstance(query, LogQuery)
        and ask.selection.signal == "logs"
        and ask.measure == "count"
        and set(ask.group_by) <= _QUICK_GROUPS
        and not (query.text or query.attributes or query.query)
    )
    if quick and isinstance(query, LogQuery):
        counts = await reader.log_counts(query, list(ask.group_by), ask.interval_s, _QUICK_ROWS_MAX + 1)  # type: ignore[arg-type]
        if len(counts) <= _QUICK_ROWS_MAX:
            return _gathered(counts, ask)
    return await reader.aggregate(ask)


def _gathered(counts: Sequence[LogCount], ask: Aggregate) -> Aggregated:
    """Return counts of all groups as the largest ones and a remainder."""
    totals: dict[tuple[str | None, ...], int] = {}
    for c in counts:
        key = tuple(c.group[name] for name in ask.group_by)
        totals[key] = totals.get(key, 0) + c.count
    best = sorted(totals, key=lambda key: (-totals[key], key))
    shown, others = best[: ask.top], best[ask.top :]
    order = {key: place for place, key in enumerate(shown)}
    cells: dict[tuple[int, int], Cell] = {}
    for c in counts:
        key = tuple(c.group[name] for name in ask.group_by)
        place = (c.start_ns or 0, order.get(key, len(order)))
        before = cells[place].count if place in cells else 0
        cells[place] = Cell(c.start_ns, key if key in order else None, before + c.count, before + c.count)
    found = [cells[place] for place in sorted(cells)]
    if not counts and not ask.group_by and ask.interval_s is None:
        found = [Cell(None, (), 0, 0)]
    return Aggregated(found, len(shown), len(others))


async def _check_names(reader: Reader, question: _Asked, found: Aggregated) -> None:
    """Raise UserInputError for a field that no row has: all groups without it look like an answer and are none."""
    ask = question.ask
    counted = sum(c.count for c in found.cells)
    if not counted:
        return
    own = fields_of(ask.selection.signal)
    for place, name in enumerate(ask.group_by):
        if name not in own and found.groups == 1 and not found.other_groups:
            keys = found.cells[0].keys
            if keys is not None and keys[place] is None:
                raise await unknown_field(reader, ask.selection, name)
    if ask.field and all(not c.value for c in found.cells) and ask.measure != "count":
        _, values = await reader.field_values(ask.selection, rows_max=1_000, values_max=1, prefix=ask.field)
        types = {v.type for v in values if v.key == ask.field}
        if types and "number" not in types and ask.measure != "count_distinct":
            raise UserInputError(
                "INVALID_ARGUMENT",
                f"{ask.field} holds {'|'.join(sorted(types))}, not numbers; agg=count_distinct or group_by can tell it",
            )
        if not types and not any(c.value == 0 for c in found.cells if ask.measure != "count_distinct"):
            raise await unknown_field(reader, ask.selection, ask.field)


def _row(cell: Cell, question: _Asked, other_groups: int) -> dict[str, Any]:
    row: dict[str, Any] = {"start": render.time_of(cell.start_ns)} if cell.start_ns is not None else {}
    names = question.ask.group_by
    if cell.keys is None and names:
        row |= dict.fromkeys(names, f"(other {other_groups} groups)") | {"other_groups": other_groups}
    else:
        row |= {n: None if k is None else render.clean(k, 120) for n, k in zip(names, cell.keys or (), strict=False)}
    if question.per_s is not None:
        return row | {question.label: round(cell.count / question.per_s, 6), "count": cell.count}
    if question.label == "count":
        return row | {"count": cell.count}
    return row | {question.label: _number(cell.value), "count": cell.count}


def _number(value: Any) -> int | float | str | None:
    """Return a number as JSON has it: integers whole, others to three digits, NaN and infinity by name."""
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    return int(number) if number == int(number) else round(number, _DIGITS)


def _line(row: dict[str, Any], question: _Asked) -> str:
    names = question.ask.group_by
    groups = [row[n] if row[n] is not None else "(none)" for n in names]
    if "other_groups" in row:
        groups = groups[:1]
    numbers = [str(row["count"])] if question.label == "count" else [f"{question.label} {row[question.label]}"]
    numbers += [f"of {row['count']}"] if question.label != "count" else []
    return "  ".join([*([row["start"]] if "start" in row else []), *groups, *numbers])


def _answer(
    question: _Asked, found: Aggregated, rows: list[dict[str, Any]], lines: list[str], bounds: Bounds, *, cut: bool
) -> Answer:
    signal = question.ask.selection.signal
    noun = {"logs": "log records", "spans": "spans", "metrics": "metric points"}[signal]
    total = sum(c.count for c in found.cells)
    inside = sum(c.count for c in found.cells if c.keys is not None or not question.ask.group_by)
    groups = f"{total} {noun} in {found.groups + found.other_groups} groups"
    summary = f"{groups}, {found.groups} shown" if found.other_groups else groups
    hints = (
        [f"{found.other_groups} groups stand as one row: raise {'max_tokens' if cut else 'top'}"]
        if found.other_groups
        else []
    )
    if bounds.defaulted:
        hints.append("the default window of 1 hour was used; set since for more")
    fenced = [render.FENCE, *lines, render.FENCE_END] if total else []
    data = {
        "summary": summary,
        "groups": rows if total else [],
        "returned": inside,
        "left_out": total - inside,
        "matched": total,
        "truncated": found.other_groups > 0,
        "truncated_by": None if not found.other_groups else "max_tokens" if cut else "limit",
        "window": bounds.data(),
        "hints": hints,
        "untrusted_data": True,
    }
    return Answer("\n".join([summary, *hints, *fenced]), data, found=total > 0)
