"""PURE: a statement -> which packed records it may ask for, and where its first rows decide.

Read are the conditions of every SELECT that names the table, as far as they are understood: comparisons of a column
with a value, all of which must hold. What is not understood narrows nothing, so an answer can be slow for that, and
never wrong: PostgreSQL evaluates the whole statement on whatever is unpacked for it.
"""

import operator
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import FromClause, Select, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnClause,
    Grouping,
    Over,
    TextClause,
    Tuple,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import CTE, Alias, Join, Subquery

RECENT_S = 5 * 3600
"""Nothing so recent is packed, in seconds: less than ``packer.AGE_MIN`` by more than clocks differ."""
TRANSACTION = "xmin"
"""The system column that tells of which transaction a row is; packed with the others (a new row has another)."""
_HASHES = 1 << 20
# Letters beyond ASCII that some locale takes for the other case of one within.
ALMOST_ASCII = tuple(letter.encode() for letter in "\N{KELVIN SIGN}\u0130\u0131")
MISSING = object()
_PATTERN = re.compile(r"[%_/\\]")
_WORD = re.compile(r"\w+")


def trace_hash(trace_id: UUID) -> int:
    """Return the 20 bits by which blocks are found that may hold records of a trace.

    So few that lists of blocks are shared, so many that a block of 512 traces is looked at in vain once in 2,000 times.
    """
    return zlib.crc32(trace_id.bytes) % _HASHES


@dataclass(slots=True)
class Need:
    """Bounds that records needed by one SELECT are within; None: not bounded."""

    since: datetime | None = None
    until: datetime | None = None
    first_id: int | None = None
    last_id: int | None = None
    components: set[str] | None = None
    trace_ids: set[UUID] | None = None
    severity_min: int | None = None
    status_code: int | None = None
    bodies: list[str] = field(default_factory=list)
    """Texts that the body contains, whatever its case."""
    conditions: list[Any] = field(default_factory=list)
    """All conditions that must hold, understood or not, of which those on ``occurrence`` are on the table."""
    occurrence: Any = None

    def keeps(self, columns: Callable[[str], bytes]) -> bool:
        """Whether some record of a block may be within, by the elements of its columns; False is certain."""
        if self.trace_ids is not None and not any(i.bytes in columns("trace_id") for i in self.trace_ids):
            return False
        if self.first_id is not None and self.first_id == self.last_id:
            return self.first_id.to_bytes(8, "big", signed=True) in columns("id")
        return all(_may_contain(columns("body"), text) for text in self.bodies)

    @property
    def is_impossible(self) -> bool:
        """Whether no record can be within."""
        return self.components == set() or self.trace_ids == set()


def _may_contain(bodies: bytes, text: str) -> bool:
    """Whether one of the bodies may contain a text by ILIKE, whose lower case is the database's: rather yes than no."""
    if not text.isascii():
        return True
    if bodies.isascii() or text.lower().encode() in bodies.lower():
        return text.lower().encode() in bodies.lower()
    return any(letter in bodies for letter in ALMOST_ASCII)


@dataclass(frozen=True, slots=True)
class Order:
    """The first rows of a SELECT decide: those whose ``key`` (time or id) comes first, ``limit`` of them.

    ``inner``: the SELECT, where it is a subquery of the statement; None: it is the statement.
    """

    key: str
    descending: bool
    limit: int
    inner: Select[Any] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a statement reads of one telemetry table."""

    columns: list[str]
    needs: list[Need]
    order: Order | None
    enough: int | None
    """The statement counts rows up to this number, whichever they are; None: it does not."""


def readings(statement: Any, tables: list[Table]) -> dict[str, Reading]:
    """Return what a statement reads of each of ``tables``; nothing of those it does not name."""
    found = {}
    elements = list(_elements(statement))
    texts = [set(_WORD.findall(_text(e))) for e in elements]
    for table in tables:
        scopes = [(s, f) for s in elements if isinstance(s, Select) for f in _occurrences(s, table)]
        said = any(table.name in words for words in texts)
        if not (scopes or said or any(e is table for e in elements)):
            continue
        known = len(scopes) > 0 and not said
        needs = [_need(select, occurrence) for select, occurrence in scopes] if known else [Need()]
        single = len(scopes) == 1 and known
        plain = single and not any(isinstance(e, Over) for e in elements)
        found[table.name] = Reading(
            columns=_columns(elements, texts, table, whole=not known),
            needs=[need for need in needs if not need.is_impossible],
            order=_order(statement, elements, *scopes[0]) if single else None,
            enough=_enough(statement, scopes[0][0]) if plain else None,
        )
    return found


def _elements(statement: Any) -> Iterator[Any]:
    """Yield all a statement is made of, each once; of tables not their columns: what is used stands elsewhere."""
    seen, pending = set(), [statement]
    while pending:
        here = pending.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        yield here
        if not isinstance(here, Table | ColumnClause):
            pending += here.get_children()


def _text(element: Any) -> str:
    """Return the SQL that is written out in an element."""
    if isinstance(element, TextClause):
        return element.text
    # Written out as table.column it is a column; that alone does not read the table anew.
    return str(element.name).rpartition(".")[2] if isinstance(element, ColumnClause) and element.is_literal else ""


def _occurrences(select: Select[Any], table: Table) -> list[FromClause]:
    """Return each place of the table in a SELECT: itself or an alias of it, also one that an outer SELECT has."""
    # What ``get_final_froms`` says, which compiles the statement for it.
    pending = [*select._from_obj, *select.columns_clause_froms]  # noqa: SLF001
    pending += [source for condition in select._where_criteria for source in condition._from_objects]  # noqa: SLF001
    found: dict[int, FromClause] = {}
    while pending:
        here = pending.pop()
        if isinstance(here, Join):
            pending += [here.left, here.right]
        elif here is table or (isinstance(here, Alias) and here.element is table):
            found[id(here)] = here
    return list(found.values())


def _columns(elements: list[Any], texts: list[set[str]], table: Table, *, whole: bool) -> list[str]:
    """Return the columns that are named anywhere, in the table's order; never none."""
    names = set().union(*texts)
    for element in elements:
        if isinstance(element, ColumnClause) and (element.table is None or _of(element.table, table)):
            names.add(element.name)
    found = [c.name for c in table.c if whole or c.name in names or c.name == "time"]
    return [*found, TRANSACTION] if TRANSACTION in names else found


def _of(source: Any, table: Table) -> bool:
    return source is table or getattr(source, "element", None) is table or getattr(source, "name", "") == table.name


def _need(select: Select[Any], occurrence: FromClause) -> Need:
    need = Need(conditions=list(_conjunction(select.whereclause)), occurrence=occurrence)
    for condition in need.conditions:
        if isinstance(condition, BinaryExpression):
            _narrow(need, condition, occurrence)
    return need


def inner(element: Any) -> Any:
    """Return what stands in brackets."""
    while isinstance(element, Grouping):
        element = element.element
    return element


def _conjunction(clause: Any) -> Iterator[Any]:
    """Yield the conditions that must all hold."""
    clause = inner(clause)
    if isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for part in clause.clauses:
            yield from _conjunction(part)
    elif clause is not None:
        yield clause


def _narrow(need: Need, condition: BinaryExpression[Any], occurrence: FromClause) -> None:
    """Take a comparison of a column of ours, or of a row of columns by its first, into account."""
    column, value = inner(condition.left), inner(condition.right)
    compare: Any = condition.operator
    if isinstance(column, Tuple) and isinstance(value, Tuple):
        column, value, compare = column.clauses[0], value.clauses[0], ORDERINGS.get(compare)
    if not isinstance(column, ColumnClause) or column.table is not occurrence or compare is None:
        return
    known = value_of(value)
    if known is MISSING or known is None:
        return
    narrow = _NARROWINGS.get(column.name)
    if narrow is not None:
        narrow(need, compare, known)


# A row that is less than another is at most as much by its first column.
ORDERINGS: dict[Any, Any] = {
    operator.lt: operator.le,
    operator.le: operator.le,
    operator.gt: operator.ge,
    operator.ge: operator.ge,
}


def value_of(element: Any) -> Any:
    """Return the value a statement compares with, or MISSING."""
    element = inner(element)
    if isinstance(element, BindParameter) and not element.required:
        return element.effective_value
    return MISSING


def _by_time(need: Need, compare: Any, value: Any) -> None:
    if not isinstance(value, datetime) or value.tzinfo is None:
        return
    if compare in {operator.ge, operator.gt, operator.eq}:
        need.since = value if need.since is None else max(need.since, value)
    if compare in {operator.le, operator.lt, operator.eq}:
        need.until = value if need.until is None else min(need.until, value)


def _by_id(need: Need, compare: Any, value: Any) -> None:
    values = list(value) if compare is operators.in_op and isinstance(value, list | tuple | set) else [value]
    if not values or not all(isinstance(v, int) for v in values):
        return
    if compare in {operator.ge, operator.gt, operator.eq, operators.in_op}:
        least = min(values)
        need.first_id = least if need.first_id is None else max(need.first_id, least)
    if compare in {operator.le, operator.lt, operator.eq, operators.in_op}:
        most = max(values)
        need.last_id = most if need.last_id is None else min(need.last_id, most)


def _by_component(need: Need, compare: Any, value: Any) -> None:
    need.components = _among(need.components, compare, value, str)


def _by_trace(need: Need, compare: Any, value: Any) -> None:
    need.trace_ids = _among(need.trace_ids, compare, value, UUID)


def _among(known: set[Any] | None, compare: Any, value: Any, kind: type) -> set[Any] | None:
    """Return the values that are possible after ``= value`` or ``IN (value)``."""
    if compare is operator.eq:
        values = [value]
    elif compare is operators.in_op and isinstance(value, list | tuple | set | frozenset):
        values = list(value)
    else:
        return known
    if not all(isinstance(v, kind) for v in values):
        return known
    return set(values) if known is None else known & set(values)


def _by_severity(need: Need, compare: Any, value: Any) -> None:
    if compare in {operator.ge, operator.gt, operator.eq} and isinstance(value, int):
        need.severity_min = value if need.severity_min is None else max(need.severity_min, value)


def _by_status(need: Need, compare: Any, value: Any) -> None:
    if compare is operator.eq and isinstance(value, int):
        need.status_code = value


def _by_body(need: Need, compare: Any, value: Any) -> None:
    if compare in _CONTAINS and isinstance(value, str):
        # What is no pattern in it.
        need.bodies.append(max(_PATTERN.split(value), key=len))


_CONTAINS = {operators.icontains_op, operators.contains_op, operators.ilike_op, operators.like_op}
_NARROWINGS = {
    "time": _by_time,
    "id": _by_id,
    "component": _by_component,
    "trace_id": _by_trace,
    "severity_number": _by_severity,
    "status_code": _by_status,
    "body": _by_body,
}


def _order(statement: Any, elements: list[Any], select: Select[Any], occurrence: FromClause) -> Order | None:
    """Return by what the first rows of the SELECT that reads the table are told, where the rest need not be seen."""
    limit, ordering = _limit(select), list(select._order_by_clauses)  # noqa: SLF001
    stands_alone = select is statement or any(type(e) in {Subquery, CTE} and e.element is select for e in elements)
    if limit is None or not ordering or not stands_alone or select._distinct or select._group_by_clauses:  # noqa: SLF001
        return None
    first, descending = ordering[0], False
    if isinstance(first, UnaryExpression) and first.modifier in {operators.desc_op, operators.asc_op}:
        descending = first.modifier is operators.desc_op
        first = first.element
    of_key = isinstance(first, ColumnClause) and first.table is occurrence and first.name in {"time", "id"}
    if not of_key or any(isinstance(e, Over) for e in _elements(select)):
        return None
    return Order(first.name, descending, limit, None if select is statement else select)


def _limit(statement: Any) -> int | None:
    """Return LIMIT and OFFSET together; None where there is no limit that is known."""
    if not isinstance(statement, Select):
        return None
    limit, offset = statement._limit_clause, statement._offset_clause  # noqa: SLF001
    if not isinstance(limit, BindParameter) or (offset is not None and not isinstance(offset, BindParameter)):
        return None
    values = [limit.effective_value, offset.effective_value if offset is not None else 0]
    return sum(v for v in values if v) if all(isinstance(v, int) for v in values) else None


def _enough(statement: Any, select: Select[Any]) -> int | None:
    """Return the limit of the subquery whose rows a statement does nothing with but count."""
    if not isinstance(statement, Select) or statement is select or statement.whereclause is not None:
        return None
    froms, columns = statement._from_obj, list(statement.selected_columns)  # noqa: SLF001
    counts = len(columns) == 1 and isinstance(columns[0], FunctionElement) and columns[0].name == "count"
    if not counts or len(froms) != 1 or not isinstance(froms[0], Subquery) or froms[0].element is not select:
        return None
    return None if select._having_criteria else _limit(select)  # noqa: SLF001
