"""PURE: the fields a query can name, for log records and for spans, and what their values may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "body", "level", "hex", "kind", "status", "duration"]
Signal = Literal["logs", "spans"]

# The first number of each range of the log data model; a range has four.
SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
SEVERITY_ALIASES = {"warning": "warn", "err": "error", "critical": "fatal", "notice": "info", "verbose": "trace"}
SEVERITY_MAX = 24
BAND = 4
SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = {"ok": 1, "error": 2}
DURATION_UNITS_NS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A field: what its values are, its other names, an example, and for "hex" how many digits it has."""

    kind: Kind
    example: str
    aliases: tuple[str, ...] = ()
    digits: int = 0


_COMPONENT = FieldSpec("text", "component:shop", ("service", "service.name", "service_name"))
_TRACE = FieldSpec("hex", "trace:4bf92f3577b34da6a3ce929d0e0e4736", ("trace_id", "traceid"), 32)
_SPAN = FieldSpec("hex", "span:00f067aa0ba902b7", ("span_id", "spanid"), 16)
_SCOPE = FieldSpec("text", "scope:sqlalchemy*", ("logger", "scope.name"))

FIELDS: Mapping[Signal, Mapping[str, FieldSpec]] = {
    "logs": {
        "component": _COMPONENT,
        "level": FieldSpec("level", "level:>=warn", ("severity", "status", "severity_min")),
        "body": FieldSpec("body", 'body:"timed out"', ("message", "text", "msg")),
        "trace": _TRACE,
        "span": _SPAN,
        "event": FieldSpec("text", "event:order.paid", ("event_name", "event.name")),
        "scope": _SCOPE,
    },
    "spans": {
        "component": _COMPONENT,
        "name": FieldSpec("text", 'name:"GET /pay"', ("operation", "span_name")),
        "kind": FieldSpec("kind", "kind:server", ("span.kind", "span_kind")),
        "status": FieldSpec("status", "status:error", ("status_code",)),
        "message": FieldSpec("text", "message:*refused*", ("status_message",)),
        "duration": FieldSpec("duration", "duration:>100ms"),
        "trace": _TRACE,
        "span": _SPAN,
        "parent": FieldSpec("hex", "parent:00f067aa0ba902b7", ("parent_span_id", "parent_id"), 16),
        "scope": _SCOPE,
    },
}
# What a name stands for.
NAMES: Mapping[Signal, Mapping[str, str]] = {
    signal: {name: name for name in table} | {alias: name for name, spec in table.items() for alias in spec.aliases}
    for signal, table in FIELDS.items()
}
