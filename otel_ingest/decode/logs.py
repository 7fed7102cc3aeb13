"""PURE: ExportLogsServiceRequest -> LogRow."""

from operator import attrgetter
from typing import Any

from otel_ingest.decode.attributes import Lossy
from otel_ingest.decode.context import Context, Named, Shape, int32, int64, span_id_of, trace_id_of
from storage.rows import LogRow

_NO_BODY, _STRING_BODY, _JSON_BODY = 0, 1, 2


def _row(record: Any, named: Named, context: Context) -> LogRow:
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
        named[0],
        named[1],
        record.severity_number,
        int32(record.flags),
        int32(record.dropped_attributes_count),
        body_kind,
        named[2],
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


SHAPE = Shape("resource_logs", "scope_logs", attrgetter("log_records"), _row)
