"""Exact aggregates by group and bin of time; what is not shown stays in one remainder, so that sums are right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, case, cast, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.filters import timestamp
from storage.mapping import us_of
from storage.reading.signals import Selection, key_of, number_of

PERCENTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_SIMPLE: dict[str, Any] = {"sum": func.sum, "avg": func.avg, "min": func.min, "max": func.max}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What to compute of the selected rows. ``measure``: count, sum, avg, min, max, p50 … p99, count_distinct."""

    selection: Selection
    measure: str
    field: str | None = None
    group_by: Sequence[str] = ()
    interval_s: int | None = None
    top: int = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """One group in one bin. ``keys``: None for the remainder; ``count``: rows; ``value``: None where no row has any."""

    start_ns: int | None
    keys: tuple[str | None, ...] | None
    count: int
    value: float | int | None


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The largest groups first, then the remainder of ``other_groups`` groups; bins in order of time."""

    cells: list[Cell]
    groups: int
    other_groups: int


async def aggregate(connection: AsyncConnection, ask: Aggregate) -> Aggregated:
    """Return the ``top`` largest groups (by value, else by count) and all others as one."""
    keys = [key_of(ask.selection.signal, name).label(f"by_{n}") for n, name in enumerate(ask.group_by)]
    value = _value(ask).label("value")
    count = func.count().label("n")
    name = cast(func.jsonb_build_array(*keys), Text)
    rows = select(*keys, name.label("name"), count, value).select_from(ask.selection.source)
    rows = rows.where(ask.selection.condition())
    if keys:
        rows = rows.group_by(*(text(k.name) for k in keys))
    best = (value if ask.measure != "count" else count).desc().nulls_last()
    found = (await connection.execute(rows.order_by(best, text("name")).limit(ask.top + 1))).all()
    shown, rest = found[: ask.top], len(found) > ask.top
    names = {row.name: tuple(getattr(row, k.name) for k in keys) for row in shown}
    other_groups = 0
    cells = [Cell(None, names[row.name], row.n, row.value) for row in shown]
    if rest:
        outside = name.not_in(list(names)) if names else literal(True)  # noqa: FBT003
        others = select(func.count(name.distinct()).label("groups"), count, value).select_from(ask.selection.source)
        row = (await connection.execute(others.where(ask.selection.condition(), outside))).one()
        other_groups = row.groups
        cells.append(Cell(None, None, row.n, row.value))
    if ask.interval_s is not None:
        cells = await _by_time(connection, ask, name, names)
    return Aggregated(cells, len(shown), other_groups)


async def _by_time(
    connection: AsyncConnection, ask: Aggregate, name: ColumnElement[str], names: dict[str, tuple[str | None, ...]]
) -> list[Cell]:
    """Return a cell for each bin and shown group that has rows, and one for the others."""
    table = ask.selection.table
    width = func.make_interval(0, 0, 0, 0, 0, 0, ask.interval_s)
    start = func.date_bin(width, table.time, timestamp(0)).label("bin_start")
    shown = case((name.in_(list(names)), name), else_=None) if names else literal(None, Text)
    group = shown.label("group_name")
    statement = select(start, group, func.count().label("n"), _value(ask).label("value"))
    statement = statement.select_from(ask.selection.source).where(ask.selection.condition())
    statement = statement.group_by(text("bin_start"), text("group_name"))
    order = {key: place for place, key in enumerate(names)}
    cells = [
        (
            order.get(row.group_name, len(order)),
            Cell(us_of(row.bin_start) * 1000, names.get(row.group_name), row.n, row.value),
        )
        for row in await connection.execute(statement)
    ]
    return [cell for _, cell in sorted(cells, key=lambda c: (c[1].start_ns or 0, c[0]))]


def _value(ask: Aggregate) -> ColumnElement[Any]:
    signal = ask.selection.signal
    if ask.measure == "count":
        return func.count()
    if ask.measure == "count_distinct":
        return func.count(key_of(signal, ask.field or "component").distinct())
    number = number_of(signal, ask.field)
    if ask.measure in PERCENTILES:
        return func.percentile_cont(PERCENTILES[ask.measure]).within_group(number)
    simple: ColumnElement[Any] = _SIMPLE[ask.measure](number)
    return simple
