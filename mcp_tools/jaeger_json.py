"""PURE: traces -> the JSON of Jaeger's own model, as its page and Grafana read it: microseconds, tags, processes.

Log records stand among the logs of their span, beside its events: Jaeger shows both in one list.
"""

import json
from typing import Any

from storage.mapping import severity_name
from storage.views import LogEntry, SpanEntry, WholeTrace

Json = dict[str, Any]


def trace_json(trace: WholeTrace) -> Json:
    """Return one trace; what the limits of the read left out is a warning of it."""
    processes: dict[str, Json] = {}
    names: dict[str, str] = {}
    logs: dict[str | None, list[LogEntry]] = {}
    for entry in trace.logs:
        logs.setdefault(entry.span_id, []).append(entry)
    found = [_span(span, _process(span, processes, names), logs.get(span.span_id, [])) for span in trace.spans]
    left = [
        f"{count} {what} left out of this answer"
        for count, what in ((trace.spans_left_out, "spans"), (trace.logs_left_out, "log records"))
        if count
    ]
    return {"traceID": trace.trace_id, "spans": found, "processes": processes, "warnings": left or None}


def _process(span: SpanEntry, processes: dict[str, Json], names: dict[str, str]) -> str:
    """Return the id of the span's process; the same service with the same resource is one."""
    key = json.dumps([span.component, span.resource], sort_keys=True)
    if key not in names:
        names[key] = f"p{len(names) + 1}"
        tags = [_tag(k, v) for k, v in span.resource.items() if k != "service.name"]
        processes[names[key]] = {"serviceName": span.component, "tags": tags}
    return names[key]


def _span(span: SpanEntry, process: str, logs: list[LogEntry]) -> Json:
    parent = [_reference("CHILD_OF", span.trace_id, span.parent_span_id)] if span.parent_span_id else []
    links = [_reference("FOLLOWS_FROM", link["trace_id"], link["span_id"]) for link in span.links]
    entries = [_event(event) for event in span.events] + [_log(entry) for entry in logs]
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.name,
        "references": parent + links,
        "startTime": span.time_ns // 1000,
        "duration": span.duration_ns // 1000,
        "tags": [_tag(k, v) for k, v in span.attributes.items()] + _own_tags(span),
        "logs": sorted(entries, key=lambda log: int(log["timestamp"])),
        "processID": process,
        "warnings": None,
    }


def _reference(kind: str, trace_id: str | None, span_id: str | None) -> Json:
    return {"refType": kind, "traceID": trace_id, "spanID": span_id}


def _own_tags(span: SpanEntry) -> list[Json]:
    """Return what is a field of OpenTelemetry and a tag of Jaeger."""
    tags: Json = {} if span.kind == "unspecified" else {"span.kind": span.kind}
    if span.status != "unset":
        tags["otel.status_code"] = span.status.upper()
    if span.status == "error":
        tags["error"] = True
    if span.status_message:
        tags["otel.status_description"] = span.status_message
    if span.scope_name:
        tags["otel.scope.name"] = span.scope_name
    if span.scope_version:
        tags["otel.scope.version"] = span.scope_version
    if span.trace_state:
        tags["w3c.tracestate"] = span.trace_state
    return [_tag(k, v) for k, v in tags.items()]


def _tag(key: str, value: Any) -> Json:
    if isinstance(value, bool):
        return {"key": key, "type": "bool", "value": value}
    if isinstance(value, int):
        return {"key": key, "type": "int64", "value": value}
    if isinstance(value, float):
        return {"key": key, "type": "float64", "value": value}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"key": key, "type": "string", "value": text}


def _event(event: Json) -> Json:
    fields = [_tag("event", event["name"]), *(_tag(k, v) for k, v in event["attributes"].items())]
    return {"timestamp": event["time_unix_nano"] // 1000, "fields": fields}


def _log(entry: LogEntry) -> Json:
    level = entry.severity_text or severity_name(entry.severity_number)
    message = entry.body if entry.body is not None else entry.event_name
    fields = [_tag("level", level), _tag("message", message), *(_tag(k, v) for k, v in entry.attributes.items())]
    return {"timestamp": entry.time_ns // 1000, "fields": fields}
