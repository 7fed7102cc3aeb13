"""The values of one attribute among the records of a log view, or which attributes these have."""

from dataclasses import replace
from typing import Any

from mcp_tools.page.question import Question
from mcp_tools.page.visit import Visit
from storage.errors import QueryTimeout
from storage.query.tree import Attribute, Is, Scope
from storage.query.words import looks_loose
from storage.query.writing import text_of
from storage.reading.fields import VALUE_CHARS_MAX, FieldValue
from storage.reading.signals import Selection

ANY = "*"
"""What stands for an attribute that is still to be chosen."""
RECORDS_MAX = 5_000
"""The newest records that match, of which values are counted: some 50 ms, however many there are."""
_VALUES_MAX, _KEYS_MAX = 12, 40
_SCOPES: dict[str, Scope] = {"attribute": "any", "resource": "resource"}
_WRITTEN = {"string", "number", "boolean"}


async def facet(visit: Visit, asked: Question) -> dict[str, Any] | None:
    """Return the values of the attribute that ``facet`` names, and which others there are; None where none is asked."""
    name = visit.param("facet")
    if name is None:
        return None
    query = replace(asked.query, since_ns=asked.since_ns)
    try:
        read, found = await visit.reader.field_values(
            Selection(signal="logs", query=query), rows_max=RECORDS_MAX, values_max=_VALUES_MAX
        )
    except QueryTimeout:
        return {"too_many": True}
    by_name: dict[str, list[FieldValue]] = {}
    for value in found:
        if value.place in _SCOPES:
            by_name.setdefault(_name(value.place, value.key), []).append(value)
    values = by_name.get(name, [])
    shown = [_value(value, visit.param("q") or "") for value in values]
    return {
        "name": None if name == ANY else name,
        "read": read,
        "read_are_all": read < RECORDS_MAX,
        "values": shown,
        "values_left_out": values[0].key_values - len(values) if values else 0,
        "without": read - values[0].key_count if values else read,
        "names": {key: values[0].key_count for key, values in list(by_name.items())[:_KEYS_MAX]},
        "names_left_out": max(0, len(by_name) - _KEYS_MAX),
    }


def _name(place: str, key: str) -> str:
    """Return an attribute as the query language writes it: @http.route, resource.host.name."""
    return text_of(Attribute(key, Is("x"), _SCOPES[place])).removesuffix(":x")


def _value(value: FieldValue, text: str) -> dict[str, Any]:
    """Return a value, and the search line that asks for it as well; none where it cannot be written."""
    given = value.value or ""
    search = None
    if value.type in _WRITTEN and len(given) < VALUE_CHARS_MAX and given:
        loose = value.type != "string" and looks_loose(given)
        term = text_of(Attribute(value.key, Is(given, loose=loose), _SCOPES[value.place]))
        search = f"({text}) {term}" if " OR " in text else f"{text} {term}".strip()
    return {"value": given, "count": value.count, "search": search}
