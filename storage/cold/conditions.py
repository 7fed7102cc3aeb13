"""PURE: what a statement asks of a table -> conditions in DuckDB's SQL that hold for every record it may need.

They only spare work: PostgreSQL evaluates the whole statement on what they leave. So what is not understood is left
out where all must hold, and makes nothing of an OR. Values are parameters.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql.operators import ASTEXT, CONTAINS, HAS_KEY
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BooleanClauseList,
    ClauseList,
    CollectionAggregate,
    ColumnClause,
    ExpressionClauseList,
    False_,
    Tuple,
)
from sqlalchemy.sql.functions import FunctionElement

from storage.packing.needs import ALMOST_ASCII, MISSING, ORDERINGS, Need, inner, value_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPARED = {operator.eq: "=", operator.ge: ">=", operator.gt: ">", operator.le: "<=", operator.lt: "<"}
# Conditions that do not hold for NULL.
_PRESENT = {*_COMPARED, operators.in_op, operators.like_op, operators.ilike_op}
# Texts that PostgreSQL orders by bytes, as DuckDB does all.
_BYTEWISE = {"component"}
_WILD = re.compile(r"[%_/\\]")
_UNPLAIN = re.compile(r'["\\]')


@dataclass(slots=True)
class Where:
    """A condition and its parameters."""

    sql: str = "true"
    parameters: list[Any] = field(default_factory=list)


def where(needs: Sequence[Need]) -> Where:
    """Return the condition on records within one of ``needs``."""
    each = [_all([_condition(c, need.occurrence) for c in need.conditions]) for need in needs]
    return _any(each) or Where()


def _all(parts: Sequence[Where | None]) -> Where | None:
    known = [part for part in parts if part is not None]
    return _joined(" AND ", known) if known else None


def _any(parts: Sequence[Where | None]) -> Where | None:
    known = [part for part in parts if part is not None]
    return _joined(" OR ", known) if known and len(known) == len(parts) else None


def _joined(word: str, parts: Sequence[Where]) -> Where:
    return Where(f"({word.join(p.sql for p in parts)})", [value for p in parts for value in p.parameters])


def _condition(clause: Any, occurrence: Any) -> Where | None:
    clause = inner(clause)
    if isinstance(clause, False_):
        return Where("false")
    if isinstance(clause, BooleanClauseList):
        parts = [_condition(part, occurrence) for part in clause.clauses]
        return _all(parts) if clause.operator is operators.and_ else _any(parts)
    if not isinstance(clause, BinaryExpression):
        return None
    compare: Any = clause.operator
    column, other = inner(clause.left), inner(clause.right)
    if isinstance(column, Tuple) and isinstance(other, Tuple):
        column, other, compare = column.clauses[0], other.clauses[0], ORDERINGS.get(compare)
    if compare in _PRESENT:
        at = _within_json(column)
        if at is not None and at[0].table is occurrence:
            return _key(at[0].name, value_of(at[1]))
    if not isinstance(column, ColumnClause) or column.table is not occurrence or compare is None:
        return None
    return _comparison(column.name, compare, other)


def _within_json(element: Any) -> tuple[ColumnClause[Any], Any] | None:
    """Return column and key of ``column -> key``, ``column ->> key`` or the type of one: it is NULL without the key."""
    if isinstance(element, FunctionElement) and element.name == "jsonb_typeof":
        element = inner(element.clauses.clauses[0])
    if isinstance(element, BinaryExpression) and element.operator in {operators.json_getitem_op, ASTEXT}:
        column = inner(element.left)
        return (column, element.right) if isinstance(column, ColumnClause) else None
    return None


def _comparison(column: str, compare: Any, other: Any) -> Where | None:
    if isinstance(other, CollectionAggregate | FunctionElement):
        return _one_of(column, value_of(_array_of(other))) if compare is operator.eq else None
    if compare is operators.between_op and isinstance(other, ClauseList | ExpressionClauseList):
        edges = zip((operator.ge, operator.le), other.clauses, strict=True)
        return _all([_comparison(column, edge, inner(clause)) for edge, clause in edges])
    value = value_of(other)
    if value is MISSING or value is None:
        return None
    if compare in _COMPARED:
        return _compared(column, compare, value)
    return next((make(column, value) for known, make in _MAKERS.items() if compare in known), None)


def _compared(column: str, compare: Any, value: Any) -> Where | None:
    made = _parameter(column, value)
    if made is None or (isinstance(value, str) and compare is not operator.eq and column not in _BYTEWISE):
        return None
    return Where(f"{column} {_COMPARED[compare]} {made.sql}", made.parameters)


def _array_of(element: Any) -> Any:
    """Return the array in ANY(array), without its cast; anything else is no value."""
    inside = inner(element.element) if isinstance(element, CollectionAggregate) else None
    if isinstance(element, FunctionElement) and element.name == "any" and len(element.clauses.clauses) == 1:
        inside = inner(element.clauses.clauses[0])
    return inner(getattr(inside, "clause", inside))


def _one_of(column: str, values: Any) -> Where | None:
    if not isinstance(values, list | tuple | set | frozenset):
        return None
    if not values:
        return Where("false")
    made = [_parameter(column, value) for value in values]
    known = [m for m in made if m is not None]
    if len(known) < len(made):
        return None
    return Where(f"{column} IN ({', '.join(m.sql for m in known)})", [v for m in known for v in m.parameters])


def _parameter(column: str, value: Any) -> Where | None:
    if isinstance(value, datetime) and value.tzinfo is not None and column == "time":
        return Where("make_timestamptz(CAST(? AS BIGINT))", [_us(value)])
    if isinstance(value, UUID):
        return Where("CAST(? AS BLOB)", [value.bytes])
    if isinstance(value, str | int) and not isinstance(value, bool) and column != "time":
        return Where("?", [value])
    return None


def _us(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _like(column: str, pattern: Any) -> Where | None:
    """Return that a column contains what is no pattern in a pattern."""
    return _all([Where(f"contains({column}, ?)", [piece]) for piece in _literals(pattern)])


def _ilike(column: str, pattern: Any) -> Where | None:
    """Return the same in whatever case: what that is, is the database's to say, so rather yes than no."""
    odd = [letter.decode() for letter in ALMOST_ASCII]
    others = f"contains(lower({column}), ?)" + f" OR contains({column}, ?)" * len(odd)
    return _all([Where(f"({others})", [piece.lower(), *odd]) for piece in _literals(pattern) if piece.isascii()])


def _literals(pattern: Any) -> list[str]:
    return [piece for piece in _WILD.split(pattern) if piece] if isinstance(pattern, str) else []


def _holds(column: str, pairs: Any) -> Where | None:
    """Return that jsonb, which is written as ``{"key": value, …}``, contains pairs of keys and scalars."""
    if not isinstance(pairs, dict):
        return None
    found: list[Where | None] = []
    for key, value in pairs.items():
        if not _is_plain(key):
            continue
        after = ""
        if isinstance(value, bool):
            after = str(value).lower()
        elif isinstance(value, str) and _is_plain(value):
            after = f'"{value}"'
        found.append(Where(f"contains({column}, ?)", [f'"{key}": {after}']))
    return _all(found)


def _key(column: str, key: Any) -> Where | None:
    return Where(f"contains({column}, ?)", [f'"{key}": ']) if _is_plain(key) else None


def _is_plain(text: Any) -> bool:
    """Whether a text stands in JSON as it is."""
    return isinstance(text, str) and text.isprintable() and not _UNPLAIN.search(text)


_MAKERS: dict[frozenset[Any], Callable[[str, Any], Where | None]] = {
    frozenset({CONTAINS}): _holds,
    frozenset({HAS_KEY}): _key,
    frozenset({operators.in_op}): _one_of,
    frozenset({operators.like_op, operators.contains_op, operators.startswith_op}): _like,
    frozenset({operators.ilike_op, operators.icontains_op}): _ilike,
}
