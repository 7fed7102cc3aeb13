"""PURE: SpanRow -> Span."""

from typing import Any

import orjson

from otel_ingest.encode.envelopes import Shape, key_values, pairs, span_id, uint32, uint64
from storage.rows import SpanRow


def _add(into: Any, row: SpanRow) -> None:
    span = into.spans.add()
    if row.exact is not None:
        span.ParseFromString(row.exact)
        return
    span.trace_id = row.trace_id or b""
    span.span_id = span_id(row.span_id)
    span.parent_span_id = span_id(row.parent_span_id)
    span.trace_state = row.trace_state
    span.flags = uint32(row.flags)
    span.name = row.name
    span.kind = row.kind
    span.start_time_unix_nano = uint64(row.start_time_unix_nano)
    span.end_time_unix_nano = uint64(row.end_time_unix_nano)
    span.attributes.extend(pairs(row.attributes))
    span.dropped_attributes_count = uint32(row.dropped_attributes_count)
    span.dropped_events_count = uint32(row.dropped_events_count)
    span.dropped_links_count = uint32(row.dropped_links_count)
    if row.status_code is not None:
        span.status.SetInParent()
        span.status.code = row.status_code
        span.status.message = row.status_message
    for event in orjson.loads(row.events or b"[]"):
        span.events.add(**event | {"attributes": key_values(event["attributes"])})
    for link in orjson.loads(row.links or b"[]"):
        ids = {name: bytes.fromhex(link[name]) for name in ("trace_id", "span_id")}
        span.links.add(**link | ids | {"attributes": key_values(link["attributes"])})


SHAPE = Shape("resource_spans", "scope_spans", _add)
