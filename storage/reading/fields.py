"""Which fields and attributes the newest rows have, of what types, with which values."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, column, func, literal, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.models import resources
from storage.reading.signals import Selection, fields_of

VALUE_CHARS_MAX = 120


@dataclass(frozen=True, slots=True)
class FieldValue:
    """How many of the rows read have a value under a key. ``place``: field, attribute or resource.

    ``key_count``: rows that have the key at all; ``key_values``: how many different values it has.
    """

    place: str
    key: str
    type: str
    value: str | None
    count: int
    key_count: int
    key_values: int


async def field_values(
    connection: AsyncConnection, selection: Selection, *, rows_max: int = 5_000, values_max: int = 5, prefix: str = ""
) -> tuple[int, list[FieldValue]]:
    """Return how many rows were read (the newest), and the commonest values of each key that begins with ``prefix``."""
    table = selection.table
    fields = fields_of(selection.signal)
    sample = (
        select(table.attributes.label("own"), resources.c.attributes.label("shared"),
               func.jsonb_build_object(*(part for n, c in fields.items() for part in (literal(n), c))).label("fields"))
        .select_from(selection.source)
        .where(selection.condition())
        .order_by(table.time.desc())
        .limit(rows_max)
        .cte("sample")
        .prefix_with("MATERIALIZED")
    )  # fmt: skip
    pairs = union_all(
        *(
            _pairs(sample.c[name], place)
            for name, place in (("fields", "field"), ("own", "attribute"), ("shared", "resource"))
        )
    ).subquery("pairs")
    counted = (
        select(pairs.c.place, pairs.c.key, func.max(pairs.c.type).label("type"), pairs.c.value, func.count().label("n"))
        .where(pairs.c.key.startswith(prefix, autoescape=True) if prefix else literal_column("true"))
        .group_by(pairs.c.place, pairs.c.key, pairs.c.value)
        .subquery("counted")
    )
    same_key: dict[str, Any] = {"partition_by": (counted.c.place, counted.c.key)}
    ranked = select(
        *counted.c,
        func.sum(counted.c.n).over(**same_key).label("key_count"),
        func.count().over(**same_key).label("key_values"),
        func.row_number().over(**same_key, order_by=(counted.c.n.desc(), counted.c.value)).label("rank"),
    ).subquery("ranked")
    count = select(func.count()).select_from(sample)
    best = select(*ranked.c, count.scalar_subquery().label("read")).where(ranked.c.rank <= values_max)
    best = best.order_by(ranked.c.key_count.desc(), ranked.c.place, ranked.c.key, ranked.c.rank)
    rows = (await connection.execute(best)).all()
    values = [FieldValue(r.place, r.key, r.type, r.value, r.n, int(r.key_count), r.key_values) for r in rows]
    return rows[0].read if rows else (await connection.execute(count)).scalar_one(), values


def _pairs(objects: Any, place: str) -> Any:
    each = func.jsonb_each(objects).table_valued(column("key", Text), column("value", JSONB)).lateral(f"each_{place}")
    value = func.left(each.c.value.op("#>>")(literal_column("'{}'::text[]")), VALUE_CHARS_MAX)
    kind = func.jsonb_typeof(each.c.value)
    return (
        select(literal(place).label("place"), each.c.key, kind.label("type"), cast(value, Text).label("value"))
        .select_from(objects.table)
        .join(each, literal_column("true"))
    )
