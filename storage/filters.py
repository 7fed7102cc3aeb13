"""PURE: questions, and the SQLAlchemy conditions they mean. Values are always bound, never in the text."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, or_

from storage.models import log_records, resources, spans

Scalar = str | int | float | bool

LIMIT_MAX = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What timestamptz and datetime both hold.
_US_MAX = 253_402_300_799_000_000
STATUS_CODES = {"unset": 0, "ok": 1, "error": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which log records: every condition that is set must hold. Times are ns since 1970, kept to the microsecond."""

    component: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    severity_min: int | None = None
    text: str | None = None
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
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
    since_ns: int | None = None
    until_ns: int | None = None
    sort: Literal["newest", "slowest", "errors"] = "newest"
    limit: int = 20
    cursor: str | None = None

    def canonical(self) -> str:
        """Return the question without its page, as text; cursors are bound to it."""
        return _canonical(self)


def _canonical(query: LogQuery | TraceQuery) -> str:
    return repr(sorted((k, repr(v)) for k, v in asdict(query).items() if k not in {"limit", "cursor"}))


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
    return conditions + _attributes(log_records, query.attributes)


def trace_conditions(query: TraceQuery) -> list[ColumnElement[bool]]:
    """Return the conditions on spans joined with resources."""
    table = spans.c
    conditions = [*_window(spans, query.since_ns, query.until_ns), table.trace_id.isnot(None)]
    if query.component is not None:
        conditions.append(table.component == query.component)
    if query.name is not None:
        conditions.append(table.name == query.name)
    status = "error" if query.sort == "errors" else query.status
    if status == "unset":
        conditions.append(or_(table.status_code.is_(None), table.status_code == 0))
    elif status is not None:
        conditions.append(table.status_code == STATUS_CODES[status])
    if query.min_duration_ns is not None:
        conditions.append(table.duration_ns >= query.min_duration_ns)
    if query.max_duration_ns is not None:
        conditions.append(table.duration_ns <= query.max_duration_ns)
    return conditions + _attributes(spans, query.attributes)


def span_id_number(hexadecimal: str) -> int:
    """Return a span id as the store holds it."""
    return int.from_bytes(bytes.fromhex(hexadecimal), "big", signed=True)


def timestamp(time_us: int) -> datetime:
    """Return microseconds since 1970 as the timestamp they are, within what PostgreSQL and Python both hold."""
    return _EPOCH + timedelta(microseconds=min(max(time_us, 0), _US_MAX))


def _window(table: Table, since_ns: int | None, until_ns: int | None) -> list[ColumnElement[bool]]:
    """Return [since, until): since rounded down and until up to whole microseconds, so that nothing is missed."""
    conditions = []
    if since_ns is not None:
        conditions.append(table.c.time >= timestamp(since_ns // 1000))
    if until_ns is not None:
        conditions.append(table.c.time < timestamp(-(-until_ns // 1000)))
    return conditions


def _attributes(table: Table, attributes: Mapping[str, Scalar]) -> list[ColumnElement[bool]]:
    """Return, for each pair, that the record or its resource has it."""
    return [
        or_(table.c.attributes.contains(pair), resources.c.attributes.contains(pair))
        for pair in ({key: value} for key, value in attributes.items())
    ]


def all_of(conditions: list[ColumnElement[bool]]) -> Any:
    """Return the conjunction; true where there is none."""
    return and_(True, *conditions)  # noqa: FBT003 - SQLAlchemy's neutral element
