"""PURE: ExportTraceServiceRequest -> SpanRow."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from opentelemetry.proto.trace.v1 import trace_pb2

from otel_ingest.decode import quick
from otel_ingest.decode.attributes import Values
from otel_ingest.decode.context import Context, Named, int32, int64, plain, span_id_of, trace_id_of
from otel_ingest.wire import shallow
from storage.rows import SpanRow


def _plain(span: Any, named: Named, context: Context) -> SpanRow:
    context.bound(span)
    return _row(span, context.values(), named, context)


def _row(span: Any, values: Values, named: Named, context: Context) -> SpanRow:
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    attributes = values.attributes_json(span.attributes)
    events = values.json([_event(e, values) for e in span.events]) if span.events else None
    links = values.json([_link(link, values) for link in span.links]) if span.links else None
    name, state = values.text(span.name), values.text(span.trace_state)
    status_code = span.status.code if span.HasField("status") else None
    status_message = values.text(span.status.message)
    return SpanRow(
        context.time_us(start_ns, end_ns),
        int64(start_ns),
        int64(end_ns),
        min(end_ns - start_ns, (1 << 63) - 1) if end_ns > start_ns else 0,
        named[0],
        named[1],
        span.kind,
        int32(span.flags),
        int32(span.dropped_attributes_count),
        int32(span.dropped_events_count),
        int32(span.dropped_links_count),
        named[2],
        name,
        state,
        status_message,
        attributes,
        trace_id_of(span.trace_id),
        span_id_of(span.span_id),
        span_id_of(span.parent_span_id, "parent_span_id"),
        status_code,
        events,
        links,
        values.exact(span),
    )


def _event(event: Any, values: Values) -> dict[str, Any]:
    return {
        "time_unix_nano": event.time_unix_nano,
        "name": values.text(event.name),
        "attributes": values.mapping(event.attributes, 1),
        "dropped_attributes_count": event.dropped_attributes_count,
    }


def _link(link: Any, values: Values) -> dict[str, Any]:
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


def _parts(span: Any) -> Iterator[Any]:
    """Yield the messages within a shallow span."""
    yield from span.events
    yield from span.links
    if span.HasField("status"):
        yield span.status


PLAIN = plain("resource_spans", "scope_spans", attrgetter("spans"), _plain)
QUICK = quick.of(PLAIN, shallow.Span, trace_pb2.Span, _row, _parts)
