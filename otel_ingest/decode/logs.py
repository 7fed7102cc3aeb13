"""PURE: ExportLogsServiceRequest -> LogRow."""

from collections.abc import Iterator
from typing import Any

from otel_ingest.decode.attributes import Lossy, ValueRejectedError
from otel_ingest.decode.context import Context, Item, int32, int64, span_id_of, trace_id_of
from storage.rows import LogRow

_NO_BODY, _STRING_BODY, _JSON_BODY = 0, 1, 2


def rows(message: Any, context: Context) -> Iterator[Item]:
    """Yield the rows of all log records, in wire order."""
    for group in message.resource_logs:
        yield from _group(group, context)


def _group(group: Any, context: Context) -> Iterator[Item]:
    try:
        resource = context.resource(group.resource, group.schema_url, is_set=group.HasField("resource"))
    except ValueRejectedError as error:
        for scope_logs in group.scope_logs:
            for _ in scope_logs.log_records:
                yield context.reject(f"its resource: {error}")
        return
    yield resource
    for scope_logs in group.scope_logs:
        records = scope_logs.log_records
        try:
            scope = context.scope(scope_logs.scope, scope_logs.schema_url, is_set=scope_logs.HasField("scope"))
        except ValueRejectedError as error:
            for _ in records:
                yield context.reject(f"its scope: {error}")
            continue
        yield scope
        for record in records:
            try:
                row = _row(record, resource.id, scope.id, resource.component, context)
            except ValueRejectedError as error:
                yield context.reject(str(error))
            else:
                context.position += 1
                yield row


def _row(record: Any, resource_id: bytes, scope_id: bytes, component: str, context: Context) -> LogRow:
    context.bound(record)
    lossy = Lossy(context.limits)
    time_ns, observed_ns = record.time_unix_nano, record.observed_time_unix_nano
    attributes = lossy.attributes_json(record.attributes)
    body_kind, body = _body(record, lossy)
    severity_text, event_name = lossy.text(record.severity_text), lossy.text(record.event_name)
    # Positional: by keyword costs a microsecond a record.
    return LogRow(
        context.time_us(time_ns, observed_ns),
        int64(time_ns),
        int64(observed_ns),
        resource_id,
        scope_id,
        record.severity_number,
        int32(record.flags),
        int32(record.dropped_attributes_count),
        body_kind,
        component,
        severity_text,
        event_name,
        attributes,
        trace_id_of(record.trace_id),
        span_id_of(record.span_id),
        body,
        record.SerializeToString() if lossy.lossy else None,
    )


def _body(record: Any, lossy: Lossy) -> tuple[int, str | None]:
    """Return body_kind and body; a body that is there but holds no value is JSON null."""
    if not record.HasField("body"):
        return _NO_BODY, None
    kind = record.body.WhichOneof("value")
    if kind == "string_value":
        return _STRING_BODY, lossy.text(record.body.string_value)
    return _JSON_BODY, lossy.json(lossy.value(record.body, kind, 1)).decode()
