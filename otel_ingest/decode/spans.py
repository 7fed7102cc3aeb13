"""PURE: ExportTraceServiceRequest -> SpanRow."""

from operator import attrgetter
from typing import Any

from otel_ingest.decode.attributes import Lossy
from otel_ingest.decode.context import Context, Named, Shape, int32, int64, span_id_of, trace_id_of
from storage.rows import SpanRow


def _row(span: Any, named: Named, context: Context) -> SpanRow:
    context.bound(span)
    lossy = Lossy(context.limits)
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    attributes = lossy.attributes_json(span.attributes)
    events = lossy.json([_event(e, lossy) for e in span.events]) if span.events else None
    links = lossy.json([_link(link, lossy) for link in span.links]) if span.links else None
    name, state = lossy.text(span.name), lossy.text(span.trace_state)
    status_code = span.status.code if span.HasField("status") else None
    status_message = lossy.text(span.status.message)
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
        span.SerializeToString() if lossy.lossy else None,
    )


def _event(event: Any, lossy: Lossy) -> dict[str, Any]:
    return {
        "time_unix_nano": event.time_unix_nano,
        "name": lossy.text(event.name),
        "attributes": lossy.mapping(event.attributes, 1),
        "dropped_attributes_count": event.dropped_attributes_count,
    }


def _link(link: Any, lossy: Lossy) -> dict[str, Any]:
    trace_id_of(link.trace_id)
    span_id_of(link.span_id)
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": lossy.text(link.trace_state),
        "attributes": lossy.mapping(link.attributes, 1),
        "dropped_attributes_count": link.dropped_attributes_count,
        "flags": link.flags,
    }


SHAPE = Shape("resource_spans", "scope_spans", attrgetter("spans"), _row)
