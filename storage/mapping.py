"""PURE: rows as PostgreSQL returns them -> views."""

from datetime import UTC, datetime, timedelta
from typing import Any

from storage.models import log_records, resources, scopes, spans
from storage.views import LogEntry, SpanEntry

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
        time_ns=_unsigned(row.time_unix_nano) or _unsigned(row.observed_time_unix_nano) or ns_of(row.time),
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
        kind=_KINDS[row.kind] if 0 <= row.kind < len(_KINDS) else str(row.kind),
        status=_STATUS[row.status_code or 0] if 0 <= (row.status_code or 0) < len(_STATUS) else str(row.status_code),
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
