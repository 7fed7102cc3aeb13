"""PURE: LogRow -> LogRecord."""

from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_ingest.encode.envelopes import Shape, pairs, span_id, uint32, uint64, value_of
from storage.rows import LogRow

_NO_BODY, _STRING_BODY = 0, 1


def _add(into: Any, row: LogRow) -> None:
    record = into.log_records.add()
    if row.exact is not None:
        record.ParseFromString(row.exact)
        return
    record.time_unix_nano = uint64(row.time_unix_nano)
    record.observed_time_unix_nano = uint64(row.observed_time_unix_nano)
    record.severity_number = row.severity_number
    record.severity_text = row.severity_text
    record.event_name = row.event_name
    record.flags = uint32(row.flags)
    record.dropped_attributes_count = uint32(row.dropped_attributes_count)
    record.trace_id = row.trace_id or b""
    record.span_id = span_id(row.span_id)
    record.attributes.extend(pairs(row.attributes))
    if row.body_kind != _NO_BODY:
        record.body.CopyFrom(_body(row))


def _body(row: LogRow) -> AnyValue:
    if row.body_kind == _STRING_BODY:
        return AnyValue(string_value=row.body or "")
    return value_of(orjson.loads(row.body or "null"))


SHAPE = Shape("resource_logs", "scope_logs", _add)
