"""PURE: questions, and the SQLAlchemy conditions they mean. Values are always bound, never in the text."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, case, or_, true

from storage.models import log_records, metric_points, resources, spans
from storage.query.conditions import conditions as query_conditions
from storage.query.conditions import like_pattern
from storage.query.tree import Node

Scalar = str | int | float | bool

LIMIT_MAX = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What timestamptz and datetime both hold.
_US_MAX = 253_402_300_799_000_000
_INT64_MAX = (1 << 63) - 1
STATUS_CODES = {"unset": 0, "ok": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Line:
    """What a record's line (its body, or the event's name where it has none) holds: one of the texts, as written.

    ``is_regex``: one of these regular expressions of PostgreSQL matches; ``negated``: none does.
    """

    values: tuple[str, ...]
    is_regex: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which log records: every condition that is set must hold. Times are ns since 1970, [since, until) to the ns.

    ``query``: a tree of ``storage.query``, as ``storage.query.reading.parse`` reads it.
    """

    component: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    severity_min: int | None = None
    text: str | None = None
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    query: Node | None = None
    lines: tuple[Line, ...] = ()
    since_ns: int | None = None
    until_ns: int | None = None
    order: Literal["newest", "oldest"] = "newest"
    limit: int = 100
    cursor: str | None = None

    def canonical(self) -> str:
        """Return the question without its page, as text; cursors are bound to it."""
        return _canonical(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceQuery:
    """Which traces: those with a span for which every condition that is set holds."""

    component: str | None = None
    name: str | None = None
    status: Literal["error", "ok", "unset"] | None = None
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    query: Node | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    sort: Literal["newest", "slowest", "errors"] = "newest"
    limit: int = 20
    cursor: str | None = None

    def canonical(self) -> str:
        """Return the question without its page, as text; cursors are bound to it."""
        return _canonical(self)


def _canonical(query: LogQuery | TraceQuery) -> str:
    fields = {f.name: getattr(query, f.name) for f in dataclass_fields(query) if f.name not in {"limit", "cursor"}}
    # The same attributes in another order are the same question.
    return repr(sorted((k, repr(v)) for k, v in (fields | {"attributes": sorted(query.attributes.items())}).items()))


def broad_of(query: LogQuery) -> LogQuery:
    """Return what of a question the indexes answer that records have from the start: component, trace, window."""
    return replace(query, severity_min=None, text=None, attributes={}, query=None, lines=())


def depends_on_values(query: LogQuery | TraceQuery) -> bool:
    """Whether what is looked for may be rare or frequent: words, attributes."""
    words = query.text is not None or bool(query.lines) if isinstance(query, LogQuery) else query.name is not None
    return words or bool(query.attributes) or query.query is not None


def log_conditions(query: LogQuery) -> list[ColumnElement[bool]]:
    """Return the conditions on log_records joined with resources."""
    table = log_records.c
    conditions = _window(log_records, query.since_ns, query.until_ns)
    if query.component is not None:
        conditions.append(table.component == query.component)
    if query.trace_id is not None:
        conditions.append(table.trace_id == UUID(query.trace_id))
    if query.span_id is not None:
        conditions.append(table.span_id == span_id_number(query.span_id))
    if query.severity_min is not None:
        conditions.append(table.severity_number >= query.severity_min)
    if query.text is not None:
        conditions.append(table.body.icontains(query.text, autoescape=True))
    conditions += query_conditions(query.query, log_records) if query.query is not None else []
    conditions += [_line(line) for line in query.lines]
    return conditions + _attributes(log_records, query.attributes)


def _line(line: Line) -> ColumnElement[bool]:
    body, event = log_records.c.body, log_records.c.event_name

    def holds(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
        if line.is_regex:
            return column.regexp_match(value)
        return column.like(like_pattern(("", value, "")), escape="\\")

    one = or_(*(or_(holds(body, v), and_(body.is_(None), holds(event, v))) for v in line.values))
    return one.is_not(true()) if line.negated else one


def trace_conditions(query: TraceQuery) -> list[ColumnElement[bool]]:
    """Return the conditions on spans joined with resources."""
    table = spans.c
    conditions = [*_window(spans, query.since_ns, query.until_ns), table.trace_id.isnot(None)]
    if query.component is not None:
        conditions.append(table.component == query.component)
    if query.name is not None:
        conditions.append(table.name == query.name)
    status = query.status or ("error" if query.sort == "errors" else None)
    if status == "unset":
        conditions.append(or_(table.status_code.is_(None), table.status_code == 0))
    elif status is not None:
        conditions.append(table.status_code == STATUS_CODES[status])
    if query.min_duration_ns is not None:
        conditions.append(table.duration_ns >= query.min_duration_ns)
    if query.max_duration_ns is not None:
        conditions.append(table.duration_ns <= query.max_duration_ns)
    conditions += query_conditions(query.query, spans) if query.query is not None else []
    return conditions + _attributes(spans, query.attributes)


def metric_conditions(query: LogQuery, name: str | None) -> list[ColumnElement[bool]]:
    """Return the conditions on metric_points joined with resources: component, window, attributes, name."""
    table = metric_points.c
    conditions = _window(metric_points, query.since_ns, query.until_ns)
    conditions += [table.component == query.component] if query.component is not None else []
    conditions += [table.name == name] if name is not None else []
    return conditions + _attributes(metric_points, query.attributes)


def span_id_number(hexadecimal: str) -> int:
    """Return a span id as the store holds it."""
    return int.from_bytes(bytes.fromhex(hexadecimal), "big", signed=True)


def timestamp(time_us: int) -> datetime:
    """Return microseconds since 1970 as the timestamp they are, within what PostgreSQL and Python both hold."""
    return _EPOCH + timedelta(microseconds=min(max(time_us, 0), _US_MAX))


def _window(table: Table, since_ns: int | None, until_ns: int | None) -> list[ColumnElement[bool]]:
    """Return [since, until) by effective time.

    ``time`` holds whole microseconds and prunes partitions; within the microsecond of an edge the nanoseconds decide.
    """
    column = table.c.time
    conditions: list[ColumnElement[bool]] = []
    if since_ns is not None:
        edge = timestamp(since_ns // 1000)
        conditions.append(column >= edge)
        if since_ns % 1000:
            conditions.append(or_(column > edge, _effective_ns(table, since_ns) >= min(since_ns, _INT64_MAX)))
    if until_ns is not None:
        edge = timestamp(until_ns // 1000)
        if until_ns % 1000:
            conditions.append(column < timestamp(until_ns // 1000 + 1))
            conditions.append(or_(column < edge, _effective_ns(table, until_ns) < min(until_ns, _INT64_MAX)))
        else:
            conditions.append(column < edge)
    return conditions


def _effective_ns(table: Table, edge_ns: int) -> ColumnElement[int]:
    """Return the effective time, ns since 1970, of a row within the microsecond of ``edge_ns``."""
    names = ("start_time_unix_nano",) if table is spans else ("time_unix_nano", "observed_time_unix_nano")
    whole = min(edge_ns // 1000 * 1000, _INT64_MAX)
    return case(*((table.c[name] != 0, table.c[name]) for name in names if name in table.c), else_=whole)


def _attributes(table: Table, attributes: Mapping[str, Scalar]) -> list[ColumnElement[bool]]:
    """Return, for each pair, that the record or its resource has it."""
    return [
        or_(table.c.attributes.contains(pair), resources.c.attributes.contains(pair))
        for pair in ({key: value} for key, value in attributes.items())
    ]


def all_of(conditions: list[ColumnElement[bool]]) -> Any:
    """Return the conjunction; true where there is none."""
    return and_(True, *conditions)  # noqa: FBT003 - SQLAlchemy's neutral element
