"""PURE: ExportTraceServiceRequest -> SpanRow."""

from operator import attrgetter
from typing import Any

from opentelemetry.proto.trace.v1 import trace_pb2

from otel_ingest.decode import compiled
from otel_ingest.decode.attributes import Lossy
from otel_ingest.decode.context import Context, Named, int32, int64, plain, span_id_of, trace_id_of
from storage.rows import SpanRow

_INT64_MAX = (1 << 63) - 1


def _plain(span: Any, named: Named, context: Context) -> SpanRow:
    context.bound(span)
    return _row(span, context.values(), named, context)


def _row(span: Any, values: Lossy, named: Named, context: Context) -> SpanRow:
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    attributes = values.attributes_json(span.attributes)
    events, links, state = span.events, span.links, span.trace_state
    flags, dropped = span.flags, span.dropped_attributes_count
    dropped_events, dropped_links = span.dropped_events_count, span.dropped_links_count
    status = span.status if span.HasField("status") else None
    # Positional, and what is mostly 0 or empty not looked into: each call costs a tenth of a microsecond a span.
    return SpanRow(
        context.time_us(start_ns, end_ns),
        int64(start_ns),
        int64(end_ns),
        min(end_ns - start_ns, _INT64_MAX) if end_ns > start_ns else 0,
        named[0],
        named[1],
        span.kind,
        int32(flags) if flags else 0,
        int32(dropped) if dropped else 0,
        int32(dropped_events) if dropped_events else 0,
        int32(dropped_links) if dropped_links else 0,
        named[2],
        values.text(span.name),
        values.text(state) if state else "",
        "" if status is None else values.text(status.message),
        attributes,
        trace_id_of(span.trace_id),
        span_id_of(span.span_id),
        span_id_of(span.parent_span_id, "parent_span_id"),
        None if status is None else status.code,
        values.json([_event(e, values) for e in events]) if events else None,
        values.json([_link(e, values) for e in links]) if links else None,
        values.exact(span),
    )


def _event(event: Any, values: Lossy) -> dict[str, Any]:
    return {
        "time_unix_nano": event.time_unix_nano,
        "name": values.text(event.name),
        "attributes": values.mapping(event.attributes, 1),
        "dropped_attributes_count": event.dropped_attributes_count,
    }


def _link(link: Any, values: Lossy) -> dict[str, Any]:
    trace_id_of(link.trace_id)
    span_id_of(link.span_id)
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": values.text(link.trace_state),
        "attributes": values.mapping(link.attributes, 1),
        "dropped_attributes_count": link.dropped_attributes_count,
        "flags": link.flags,
    }


PLAIN = plain("resource_spans", "scope_spans", attrgetter("spans"), _plain)
COMPILED = compiled.of(trace_pb2.Span, _plain, spans=True)
