"""PURE: ExportLogsServiceRequest -> LogRow."""

from operator import attrgetter
from typing import Any

from opentelemetry.proto.logs.v1 import logs_pb2

from otel_ingest.decode import compiled
from otel_ingest.decode.attributes import Lossy
from otel_ingest.decode.context import Context, Named, int32, int64, plain, span_id_of, trace_id_of
from storage.rows import LogRow


def _plain(record: Any, named: Named, context: Context) -> LogRow:
    context.bound(record)
    return _row(record, context.values(), named, context)


def _row(record: Any, values: Lossy, named: Named, context: Context) -> LogRow:
    time_ns, observed_ns = record.time_unix_nano, record.observed_time_unix_nano
    attributes = values.attributes_json(record.attributes)
    body_kind, body = values.body(record)
    severity_text, event_name = values.text(record.severity_text), record.event_name
    flags, dropped = record.flags, record.dropped_attributes_count
    # Positional: by keyword costs a microsecond a record.
    return LogRow(
        context.time_us(time_ns, observed_ns),
        int64(time_ns),
        int64(observed_ns) if observed_ns else 0,
        named[0],
        named[1],
        record.severity_number,
        int32(flags) if flags else 0,
        int32(dropped) if dropped else 0,
        body_kind,
        named[2],
        severity_text,
        values.text(event_name) if event_name else "",
        attributes,
        trace_id_of(record.trace_id),
        span_id_of(record.span_id),
        body,
        values.exact(record),
    )


PLAIN = plain("resource_logs", "scope_logs", attrgetter("log_records"), _plain)
COMPILED = compiled.of(logs_pb2.LogRecord, _plain, spans=False)
