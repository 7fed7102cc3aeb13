"""PURE: tree -> SQLAlchemy conditions on a telemetry table joined with its resources and scopes.

Values are bound, never in the text. Equalities stay equalities and containments, which indexes answer. A condition
that is unknown (NULL: no trace id, no body) does not hold, and its negation does.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, false, func, literal, or_, true
from sqlalchemy.dialects.postgresql import JSONB

from storage.models import log_records, resources, scopes, spans
from storage.query.fields import SEVERITY_MAX, SPAN_KINDS, STATUSES
from storage.query.tree import And, Attribute, Between, Exists, Field, Is, Like, Node, Not, Or, Test, Text
from storage.query.words import number_of

Condition = ColumnElement[bool]
_ESCAPE = "\\"
_TRACE_DIGITS = 32
_SPAN_DIGITS = 16
_SCALARS = ("string", "number", "boolean")


def conditions(node: Node, table: Table) -> list[Condition]:
    """Return conditions on ``log_records`` or ``spans`` that hold together where ``node`` does."""
    parts = node.operands if isinstance(node, And) else (node,)
    return [_condition(part, table) for part in parts]


def _condition(node: Node, table: Table) -> Condition:
    if isinstance(node, And):
        return and_(true(), *(_condition(o, table) for o in node.operands))
    if isinstance(node, Or):
        return or_(false(), *(_condition(o, table) for o in node.operands))
    if isinstance(node, Not):
        return _condition(node.operand, table).is_not(true())
    if isinstance(node, Text):
        return _text(node, table)
    if isinstance(node, Attribute):
        columns = [resources.c.attributes] if node.scope == "resource" else [table.c.attributes, resources.c.attributes]
        return or_(*(_attribute(column, node.key, node.test) for column in columns))
    return _field(node, table)


def _text(node: Text, table: Table) -> Condition:
    """Return that a log record's body, or a span's name or status message, holds the pieces."""
    columns = [log_records.c.body] if table is log_records else [spans.c.name, spans.c.status_message]
    pattern = like_pattern(("", *node.pieces, ""))
    return or_(*(column.ilike(pattern, escape=_ESCAPE) for column in columns))


def like_pattern(pieces: tuple[str, ...]) -> str:
    """Return the LIKE pattern of pieces with anything between them, for the escape character backslash."""
    return "%".join(p.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") for p in pieces)


def _field(field: Field, table: Table) -> Condition:
    test = field.test
    if field.name in {"component", "event", "scope", "name", "message"}:
        return _named(_text_column(field.name, table), test)
    if field.name == "level":
        return _level(test)
    if field.name == "duration":
        assert isinstance(test, Between)  # noqa: S101 - no other test of it is read
        return and_(*_bounds(spans.c.duration_ns, test))
    if field.name == "trace":
        return _trace(table.c.trace_id, test)
    if field.name in {"span", "parent"}:
        return _span(table.c[{"span": "span_id", "parent": "parent_span_id"}[field.name]], test)
    column, numbers = (spans.c.kind, _KINDS) if field.name == "kind" else (spans.c.status_code, STATUSES)
    return column == numbers[test.text] if isinstance(test, Is) else column != 0


_KINDS = {name: number for number, name in enumerate(SPAN_KINDS)}


def _text_column(name: str, table: Table) -> Any:
    if name == "scope":
        return scopes.c.name
    return table.c[{"event": "event_name", "message": "status_message"}.get(name, name)]


def _named(column: Any, test: Test) -> Condition:
    if isinstance(test, Is):
        return column == test.text  # type: ignore[no-any-return]
    if isinstance(test, Like):
        return column.like(like_pattern(test.pieces), escape=_ESCAPE)  # type: ignore[no-any-return]
    return column != ""  # type: ignore[no-any-return]


def _level(test: Test) -> Condition:
    column = log_records.c.severity_number
    if isinstance(test, Between):
        return column == test.low if test.low == test.high else and_(*_bounds(column, test))
    return column.between(1, SEVERITY_MAX)


def _bounds(column: Any, test: Between) -> Iterator[Condition]:
    if test.low is not None:
        yield column >= test.low if test.low_included else column > test.low
    if test.high is not None:
        yield column <= test.high if test.high_included else column < test.high


def _trace(column: Any, test: Test) -> Condition:
    if isinstance(test, Is):
        return column == UUID(test.text)  # type: ignore[no-any-return]
    if isinstance(test, Like):
        low, high = (UUID(test.pieces[0].ljust(_TRACE_DIGITS, fill)) for fill in "0f")
        return column.between(low, high)  # type: ignore[no-any-return]
    return column.is_not(None)  # type: ignore[no-any-return]


def _span(column: Any, test: Test) -> Condition:
    if isinstance(test, Is):
        return column == _signed(test.text)  # type: ignore[no-any-return]
    if isinstance(test, Like):
        low, high = (_signed(test.pieces[0].ljust(_SPAN_DIGITS, fill)) for fill in "0f")
        return column.between(low, high)  # type: ignore[no-any-return]
    return column.is_not(None)  # type: ignore[no-any-return]


def _signed(digits: str) -> int:
    """Return a span id as the store holds it."""
    return int.from_bytes(bytes.fromhex(digits), "big", signed=True)


def _attribute(column: Any, key: str, test: Test) -> Condition:
    if isinstance(test, Is):
        return or_(*(column.contains({key: value}) for value in _meant(test)))
    value = column[key]
    if isinstance(test, Exists):
        return column.has_key(key)  # type: ignore[no-any-return]
    kind = func.jsonb_typeof(value)
    if isinstance(test, Like):
        text = column[key].astext
        return and_(kind.in_(_SCALARS), text.like(like_pattern(test.pieces), escape=_ESCAPE))
    # jsonb compares numbers as numbers, whole or not; any other kind is told apart before.
    return and_(kind == "number", *_bounds(value, _as_json(test)))


def _meant(test: Is) -> list[str | int | float | bool]:
    """Return the values an attribute may have to be equal."""
    if not test.loose:
        return [test.text]
    number = number_of(test.text)
    return [test.text, number if number is not None else test.text == "true"]


def _as_json(test: Between) -> Any:
    low, high = (None if n is None else literal(n, JSONB) for n in (test.low, test.high))
    return Between(low, high, test.low_included, test.high_included)  # type: ignore[arg-type]
