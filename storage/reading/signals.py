"""Log records, spans and metric points asked alike: which rows, and what may be grouped by or measured of them."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Double, Text, case, cast, func

from storage.filters import LogQuery, TraceQuery, all_of, log_conditions, metric_conditions, trace_conditions
from storage.models import log_records, metric_points, resources, scopes, spans
from storage.reading.common import LOGS, SPANS

Signal = Literal["logs", "spans", "metrics"]
METRICS = metric_points.outerjoin(resources, resources.c.id == metric_points.c.resource_id).outerjoin(
    scopes, scopes.c.id == metric_points.c.scope_id
)
_TABLES = {"logs": log_records, "spans": spans, "metrics": metric_points}
_SOURCES = {"logs": LOGS, "spans": SPANS, "metrics": METRICS}
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_POINTS = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponential histogram", 11: "summary"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of which signal. ``name`` is a metric's; of metrics the query's words and severity do not count."""

    signal: Signal
    query: LogQuery | TraceQuery
    name: str | None = None

    @property
    def table(self) -> Any:
        """Return the columns of the signal's own table."""
        return _TABLES[self.signal].c

    @property
    def source(self) -> Any:
        """Return what to select from."""
        return _SOURCES[self.signal]

    def condition(self) -> Any:
        """Return what must hold."""
        if isinstance(self.query, TraceQuery):
            return all_of(trace_conditions(self.query))
        if self.signal == "metrics":
            return all_of(metric_conditions(self.query, self.name))
        return all_of(log_conditions(self.query))


def fields_of(signal: Signal) -> dict[str, ColumnElement[Any]]:
    """Return the fields that every row of a signal has, as text."""
    scope = func.coalesce(scopes.c.name, "")
    if signal == "logs":
        logs = log_records.c
        level = case(
            *((logs.severity_number.between(4 * i + 1, 4 * i + 4), name) for i, name in enumerate(_SEVERITIES)),
            else_="UNSET",
        )
        return {"component": logs.component, "severity": level, "event_name": logs.event_name, "scope": scope}
    if signal == "spans":
        table = spans.c
        status = case((table.status_code == 1, "ok"), (table.status_code == 2, "error"), else_="unset")  # noqa: PLR2004
        kind = case(*((table.kind == i, name) for i, name in enumerate(_KINDS)), else_=cast(table.kind, Text))
        return {"component": table.component, "name": table.name, "status": status, "kind": kind,
                "status_message": table.status_message, "scope": scope}  # fmt: skip
    points = metric_points.c
    kind = case(*((points.type == number, name) for number, name in _POINTS.items()), else_=cast(points.type, Text))
    return {"component": points.component, "name": points.name, "type": kind, "unit": points.unit, "scope": scope}


def key_of(signal: Signal, name: str) -> ColumnElement[Any]:
    """Return a field of every row, else the attribute of that name of the row, else of its resource, as text."""
    fields = fields_of(signal)
    if name in fields:
        return fields[name]
    own = _TABLES[signal].c.attributes
    return func.coalesce(own[name].astext, resources.c.attributes[name].astext)


def number_of(signal: Signal, name: str | None) -> ColumnElement[Any]:
    """Return what is measured: a span's duration in ms, a point's value, or a numeric attribute; NULL where none."""
    table = _TABLES[signal].c
    if signal == "spans" and name in {None, "duration"}:
        return cast(spans.c.duration_ns, Double) / 1e6
    if signal == "metrics" and name in {None, "value"}:
        return func.coalesce(metric_points.c.value_double, cast(metric_points.c.value_int, Double))
    if signal == "logs" and name == "body_chars":
        return cast(func.length(log_records.c.body), Double)
    own, shared = table.attributes, resources.c.attributes
    return case(
        (func.jsonb_typeof(own[name]) == "number", cast(own[name].astext, Double)),
        (func.jsonb_typeof(shared[name]) == "number", cast(shared[name].astext, Double)),
        else_=None,
    )
