"""PURE: rows as PostgreSQL returns them -> views."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import case, func

from storage.models import log_records, resources, scopes, spans
from storage.views import LogEntry, LogNode, SpanEntry, SpanNode

BODY_CHARS = 2_000
"""What is read of a message where many stand beside each other."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_JSON_BODY = 2
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS = ("unset", "ok", "error")
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_SEVERITY_MAX = 24


def log_columns() -> list[Any]:
    """Return the columns ``log_entry`` reads."""
    left_out = {"resource_id", "scope_id", "exact"}
    return [c for c in log_records.c if c.name not in left_out] + _interned()


def span_columns() -> list[Any]:
    """Return the columns ``span_entry`` reads."""
    left_out = {"resource_id", "scope_id", "exact"}
    return [c for c in spans.c if c.name not in left_out] + _interned()


def _interned() -> list[Any]:
    return [
        resources.c.attributes.label("resource_attributes"),
        scopes.c.name.label("scope_name"),
        scopes.c.version.label("scope_version"),
    ]


def log_entry(row: Any) -> LogEntry:
    """Return the view of a row of ``log_columns``."""
    return LogEntry(
        id=row.id,
        time_ns=_log_ns(row.time_unix_nano, row.observed_time_unix_nano, row.time),
        component=row.component,
        severity_number=row.severity_number,
        severity_text=row.severity_text,
        body=row.body,
        trace_id=_trace_id(row.trace_id),
        span_id=_span_id(row.span_id),
        event_name=row.event_name,
        attributes=row.attributes,
        resource=row.resource_attributes or {},
        scope_name=row.scope_name or "",
        scope_version=row.scope_version or "",
        observed_time_ns=_unsigned(row.observed_time_unix_nano),
        flags=row.flags & 0xFFFFFFFF,
        dropped_attributes_count=row.dropped_attributes_count & 0xFFFFFFFF,
        body_is_json=row.body_kind == _JSON_BODY,
    )


def span_entry(row: Any) -> SpanEntry:
    """Return the view of a row of ``span_columns``."""
    return SpanEntry(
        id=row.id,
        time_ns=span_ns(row),
        end_ns=_unsigned(row.end_time_unix_nano),
        duration_ns=row.duration_ns,
        component=row.component,
        name=row.name,
        kind=kind_name(row.kind),
        status=status_name(row.status_code),
        status_message=row.status_message,
        trace_id=_trace_id(row.trace_id),
        span_id=_span_id(row.span_id),
        parent_span_id=_span_id(row.parent_span_id),
        trace_state=row.trace_state,
        attributes=row.attributes,
        resource=row.resource_attributes or {},
        scope_name=row.scope_name or "",
        scope_version=row.scope_version or "",
        flags=row.flags & 0xFFFFFFFF,
        dropped_attributes_count=row.dropped_attributes_count & 0xFFFFFFFF,
        dropped_events_count=row.dropped_events_count & 0xFFFFFFFF,
        dropped_links_count=row.dropped_links_count & 0xFFFFFFFF,
        events=row.events or [],
        links=row.links or [],
    )


def node_columns() -> list[Any]:
    """Return the columns ``span_node`` reads."""
    table = spans.c
    return [
        table.id, table.time, table.start_time_unix_nano, table.duration_ns, table.component, table.name, table.kind,
        table.status_code, func.left(table.status_message, BODY_CHARS).label("status_message"), table.span_id,
        table.parent_span_id,
    ]  # fmt: skip


def span_node(row: Any) -> SpanNode:
    """Return the view of a row of ``node_columns``."""
    return SpanNode(
        id=row.id,
        time_ns=span_ns(row),
        duration_ns=row.duration_ns,
        component=row.component,
        name=row.name,
        kind=kind_name(row.kind),
        status=status_name(row.status_code),
        status_message=row.status_message,
        span_id=_span_id(row.span_id),
        parent_span_id=_span_id(row.parent_span_id),
    )


def message_columns() -> list[Any]:
    """Return the columns ``log_node`` reads."""
    table = log_records.c
    said = message()
    return [
        table.id, table.time, table.time_unix_nano, table.observed_time_unix_nano, table.component,
        table.severity_number, table.severity_text, func.left(said, BODY_CHARS).label("said"),
        func.length(said).label("said_chars"), table.span_id, table.trace_id,
    ]  # fmt: skip


def message() -> Any:
    """Return the SQL of what a record says in one text: body or event name, then the exception it carries."""
    table = log_records.c
    kind, text = (table.attributes[name].astext for name in ("exception.type", "exception.message"))
    exception = func.concat(" [", kind, ": ", func.coalesce(text, ""), "]")
    return func.concat(func.coalesce(table.body, table.event_name), case((kind.isnot(None), exception), else_=""))


def log_node(row: Any) -> LogNode:
    """Return the view of a row that begins with ``message_columns``; by place, for there are thousands in an answer."""
    identifier, moment, time_ns, observed_ns, component, number, text, said, chars, span_id, trace_id = row[:11]
    return LogNode(
        id=identifier,
        time_ns=_log_ns(time_ns, observed_ns, moment),
        component=component,
        severity_number=number,
        severity_text=text,
        body=said,
        body_chars=chars,
        span_id=_span_id(span_id),
        trace_id=_trace_id(trace_id),
    )


def _log_ns(time_ns: int, observed_ns: int, moment: datetime) -> int:
    """Return the effective time of a log record in ns."""
    return _unsigned(time_ns) or _unsigned(observed_ns) or ns_of(moment)


def kind_name(kind: int) -> str:
    """Return the name of a span kind."""
    return _KINDS[kind] if 0 <= kind < len(_KINDS) else str(kind)


def status_name(code: int | None) -> str:
    """Return unset, ok or error."""
    return _STATUS[code or 0] if 0 <= (code or 0) < len(_STATUS) else str(code)


def span_ns(row: Any) -> int:
    """Return the start of a span in ns, by its partition's time where it named none."""
    return _unsigned(row.start_time_unix_nano) or ns_of(row.time)


def ns_of(moment: datetime) -> int:
    """Return a timestamp in nanoseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND * 1000


def us_of(moment: datetime) -> int:
    """Return a timestamp in microseconds since 1970, exactly."""
    return ns_of(moment) // 1000


def severity_name(number: int) -> str:
    """Return the short name of a severity number (log data model): TRACE to FATAL, UNSET outside 1 to 24."""
    return _SEVERITIES[(number - 1) // 4] if 1 <= number <= _SEVERITY_MAX else "UNSET"


def _unsigned(value: int) -> int:
    return value & 0xFFFFFFFFFFFFFFFF


def _trace_id(value: Any) -> str | None:
    return value.hex if value is not None and value.int else None


def _span_id(value: int | None) -> str | None:
    return f"{value & 0xFFFFFFFFFFFFFFFF:016x}" if value else None
