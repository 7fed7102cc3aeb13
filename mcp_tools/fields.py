"""logger_fields: which fields and attributes there are, on how many records, with which values."""

from typing import Any, ClassVar

from pydantic import Field

from mcp_tools import render
from mcp_tools.answers import Answer, Asked, Bounds
from mcp_tools.log_filters import LogFilters
from mcp_tools.selecting import selection_of, unknown_field
from storage.reader import Reader
from storage.reading.aggregates import Aggregate
from storage.reading.fields import FieldValue
from storage.reading.signals import Selection, Signal, fields_of

_ENVELOPE_TOKENS = 140
_ROWS_MAX = 5_000
_VALUES_SHOWN = 5
_VALUE_CHARS = 60
_PLACES = ("field", "attribute", "resource")


class FieldsArguments(LogFilters):
    """Arguments of logger_fields."""

    unlisted: ClassVar[frozenset[str]] = LogFilters.unlisted | {"severity_min", "text"}

    signal: Signal = "logs"
    name: str | None = Field(None, description="Span or metric name")
    key: str | None = Field(None, description="One field or attribute: each of its values with its exact count")
    prefix: str = Field("", description='Only keys that begin so, for example "http."')
    limit: int = Field(100, ge=1, le=1000)


async def logger_fields(reader: Reader, args: FieldsArguments, asked: Asked) -> Answer:
    """Return keys, or the values of one."""
    selection, bounds = await selection_of(reader, args, args.signal, args.name, asked)
    if args.key is not None:
        return await _values(reader, selection, args, bounds)
    read, values = await reader.field_values(
        selection, rows_max=_ROWS_MAX, values_max=_VALUES_SHOWN, prefix=args.prefix
    )
    keys = _keys(values, read)
    if args.prefix and read and not keys:
        raise await unknown_field(reader, selection, args.prefix)
    lines = [_line(key) for key in keys[: args.limit]]
    kept = render.fit(lines, args.max_tokens, also=keys[: args.limit], reserve=_ENVELOPE_TOKENS)
    out = len(keys) - len(kept)
    which = f"the newest {read}" if read == _ROWS_MAX else f"all {read}"
    summary = f"{len(kept)} of {len(keys)} keys, of {which} records that match"
    hints = [f"{out} keys are left out: prefix= narrows, max_tokens and limit widen"] if out else []
    data: dict[str, Any] = {
        "summary": summary,
        "keys": keys[: len(kept)],
        "returned": len(kept),
        "matched": len(keys),
        "records_read": read,
        "records_read_are_all": read < _ROWS_MAX,
        "truncated": out > 0,
        "truncated_by": None if not out else "limit" if len(kept) == args.limit else "max_tokens",
    }
    return _answer(summary, hints, kept, data, bounds)


def _keys(values: list[FieldValue], read: int) -> list[dict[str, Any]]:
    """Return each key once, with its commonest values; the fields every record has first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for v in sorted(values, key=lambda v: _PLACES.index(v.place)):
        key = found.setdefault(
            (v.place, v.key),
            {
                "key": render.clean(v.key, 120), "of": v.place, "types": [], "coverage": round(v.key_count / read, 3),
                "distinct": v.key_values, "top": [],
            },
        )  # fmt: skip
        if v.type not in key["types"]:
            key["types"].append(v.type)
        key["top"].append([render.clean(v.value or "", _VALUE_CHARS), v.count])
    return list(found.values())


def _line(key: dict[str, Any]) -> str:
    values = ", ".join(f"{value or '(empty)'} {count}" for value, count in key["top"])
    more = f", +{key['distinct'] - len(key['top'])} other values" if key["distinct"] > len(key["top"]) else ""
    covers = f"{key['coverage'] * 100:.4g} %"
    return f"{key['key']} ({key['of']}, {'|'.join(key['types'])}, {covers}): {values}{more}"


async def _values(reader: Reader, selection: Selection, args: FieldsArguments, bounds: Bounds) -> Answer:
    """Return the values of one key over the whole window, the commonest first."""
    key = args.key or ""
    ask = Aggregate(selection=selection, measure="count", group_by=[key], top=args.limit)
    found = await reader.aggregate(ask)
    total = sum(c.count for c in found.cells)
    known = [c for c in found.cells if c.keys is not None and c.keys[0] is not None]
    if total and not known and not found.other_groups and key not in fields_of(selection.signal):
        raise await unknown_field(reader, selection, key)
    without = sum(c.count for c in found.cells if c.keys is not None and c.keys[0] is None)
    rows = [(render.clean(c.keys[0] or "", 200), c.count) for c in known if c.keys]
    lines = [f"{value or '(empty)'}  {count}" for value, count in rows]
    kept = render.fit(lines, args.max_tokens, also=rows, reserve=_ENVELOPE_TOKENS)
    shown = sum(row[1] for row in rows[: len(kept)])
    others = len(rows) - len(kept) + found.other_groups
    rest = total - without - shown
    summary = f"{len(kept)} values of {render.clean(key, 120)} on {shown} of {total} records"
    hints = [f"{others} other values on {rest} records: raise limit or max_tokens"] if others else []
    hints += [f"{without} records do not have it"] if without else []
    data = {
        "summary": summary,
        "key": render.clean(key, 120),
        "values": rows[: len(kept)],
        "returned": shown,
        "matched": total,
        "other_values": others,
        "left_out": rest,
        "without_it": without,
        "truncated": others > 0,
        "truncated_by": None if not others else "max_tokens" if len(kept) < len(rows) else "limit",
    }
    return _answer(summary, hints, kept, data, bounds)


def _answer(summary: str, hints: list[str], lines: list[str], data: dict[str, Any], bounds: Bounds) -> Answer:
    if bounds.defaulted:
        hints = [*hints, "the default window of 1 hour was used; set since for more"]
    fenced = [render.FENCE, *lines, render.FENCE_END] if lines else []
    data |= {"window": bounds.data(), "hints": hints, "untrusted_data": True}
    return Answer("\n".join([summary, *hints, *fenced]), data, found=bool(lines))
