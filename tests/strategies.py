"""Hypothesis strategies for whole OTLP requests: every field of every message, edges of numbers, hostile text."""

import math
import time
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

NOW = time.time_ns()
_DAY = 86_400_000_000_000
U32, U64 = 2**32 - 1, 2**64 - 1

u32 = st.integers(0, 3) | st.integers(0, U32) | st.just(U32)
u64 = st.integers(0, 3) | st.integers(0, U64) | st.just(U64)
i32 = st.integers(0, 5) | st.integers(-(2**31), 2**31 - 1)
i64 = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1])
# Few days: each is a partition to make.
times = st.just(0) | st.integers(NOW - _DAY, NOW + _DAY)
trace_ids = st.just(b"") | st.just(bytes(16)) | st.binary(min_size=16, max_size=16)
span_ids = st.just(b"") | st.just(bytes(8)) | st.binary(min_size=8, max_size=8)
text = st.text(max_size=8) | st.sampled_from(["", "\0", "a\0b", "\u202e", "1", "1.0", "null", "\ud7ff", "\U0010ffff"])
# One NaN: JSON has no way to write the bits of another.
doubles = st.floats(allow_nan=False) | st.sampled_from(
    [math.nan, math.inf, -math.inf, -0.0, 1.0, 1e16, 5e-324, 1.5e308]
)
urls = st.sampled_from(["", "https://opentelemetry.io/schemas/1.38.0"]) | text

_scalars = st.one_of(
    st.builds(AnyValue),
    st.builds(lambda v: AnyValue(string_value=v), text),
    st.builds(lambda v: AnyValue(bool_value=v), st.booleans()),
    st.builds(lambda v: AnyValue(int_value=v), i64),
    st.builds(lambda v: AnyValue(double_value=v), doubles),
    st.builds(lambda v: AnyValue(bytes_value=v), st.binary(max_size=8)),
    st.builds(lambda v: AnyValue(string_value_strindex=v), st.integers(0, 3)),
)


def _containers(children: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    inner = st.lists(st.builds(lambda k, v: KeyValue(key=k, value=v), text, children), max_size=3)
    return st.one_of(
        st.lists(children, max_size=3).map(lambda v: AnyValue(array_value={"values": v})),
        inner.map(lambda v: AnyValue(kvlist_value={"values": v})),
    )


values = st.recursive(_scalars, _containers, max_leaves=6)
_plain_pairs = st.builds(lambda k, v: KeyValue(key=k, value=v), text, values)
_odd_pairs = st.builds(lambda k, n: KeyValue(key=k, key_strindex=n), text, st.integers(0, 2))
attributes = st.lists(_plain_pairs | _odd_pairs, max_size=4)
services = st.lists(
    st.builds(lambda v: KeyValue(key="service.name", value=AnyValue(string_value=v)), st.sampled_from(["shop", "pay"])),
    max_size=1,
)

resources = st.none() | st.builds(
    lambda named, others, dropped, refs: Resource(
        attributes=[*named, *others], dropped_attributes_count=dropped, entity_refs=refs
    ),
    services,
    attributes,
    u32,
    st.lists(st.fixed_dictionaries({"type": text, "id_keys": st.lists(text, max_size=1)}), max_size=1),
)
scopes = st.none() | st.builds(
    InstrumentationScope, name=text, version=text, attributes=attributes, dropped_attributes_count=u32
)

log_records = st.builds(
    LogRecord,
    time_unix_nano=times,
    observed_time_unix_nano=times,
    severity_number=i32,
    severity_text=text,
    event_name=text,
    flags=u32,
    dropped_attributes_count=u32,
    trace_id=trace_ids,
    span_id=span_ids,
    attributes=attributes,
    body=st.none() | values,
)
_events = st.builds(Span.Event, time_unix_nano=u64, name=text, attributes=attributes, dropped_attributes_count=u32)
_links = st.builds(
    Span.Link,
    trace_id=trace_ids,
    span_id=span_ids,
    trace_state=text,
    attributes=attributes,
    dropped_attributes_count=u32,
    flags=u32,
)
spans = st.builds(
    Span,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_span_id=span_ids,
    trace_state=text,
    flags=u32,
    name=text,
    kind=i32,
    # The partition's time is the start's; an end far off has no partition to be in.
    start_time_unix_nano=st.integers(NOW - _DAY, NOW + _DAY),
    end_time_unix_nano=u64,
    attributes=attributes,
    dropped_attributes_count=u32,
    dropped_events_count=u32,
    dropped_links_count=u32,
    status=st.none() | st.builds(lambda c, m: {"code": c, "message": m}, i32, text),
    events=st.lists(_events, max_size=2),
    links=st.lists(_links, max_size=2),
)

_exemplars = st.lists(
    st.builds(
        lambda value, time_ns, trace_id, span_id, attributes: {
            **value,
            "time_unix_nano": time_ns,
            "trace_id": trace_id,
            "span_id": span_id,
            "filtered_attributes": attributes,
        },
        st.one_of(
            st.just({}),
            doubles.map(lambda v: {"as_double": v}),
            i64.map(lambda v: {"as_int": v}),
        ),
        u64,
        trace_ids,
        span_ids,
        attributes,
    ),
    max_size=2,
)
_common: dict[str, st.SearchStrategy[Any]] = {
    "time_unix_nano": times,
    "start_time_unix_nano": times,
    "attributes": attributes,
    "flags": u32,
}
_optional = st.none() | doubles
_buckets = st.none() | st.fixed_dictionaries({"offset": i32, "bucket_counts": st.lists(u64, max_size=3)})
_spread = {"count": u64, "sum": _optional, "min": _optional, "max": _optional, "exemplars": _exemplars}
_number = st.one_of(
    st.fixed_dictionaries(_common | {"as_double": _optional, "exemplars": _exemplars}),
    st.fixed_dictionaries(_common | {"as_int": st.none() | i64, "exemplars": _exemplars}),
)
_points: dict[str, st.SearchStrategy[Any]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": st.fixed_dictionaries(
        _common
        | _spread
        | {"bucket_counts": st.lists(u64, max_size=3), "explicit_bounds": st.lists(doubles, max_size=2)}
    ),
    "exponential_histogram": st.fixed_dictionaries(
        _common
        | _spread
        | {"scale": i32, "zero_count": u64, "zero_threshold": doubles, "positive": _buckets, "negative": _buckets}
    ),
    "summary": st.fixed_dictionaries(
        _common
        | {"count": u64, "sum": doubles}
        | {"quantile_values": st.lists(st.fixed_dictionaries({"quantile": doubles, "value": doubles}), max_size=2)}
    ),
}


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    """Draw a metric of any kind with one to three points."""
    kind = draw(st.sampled_from(sorted(_points)))
    holder: dict[str, Any] = {"data_points": draw(st.lists(_points[kind], min_size=1, max_size=3))}
    if kind not in {"gauge", "summary"}:
        holder["aggregation_temporality"] = draw(st.integers(0, 3))
    if kind == "sum":
        holder["is_monotonic"] = draw(st.booleans())
    head = {"name": draw(text), "unit": draw(text), "description": draw(text), "metadata": draw(attributes)}
    return Metric(**head, **{kind: holder})


def _requests(request_type: Any, groups: str, scope_list: str, records: str, one: st.SearchStrategy[Any]) -> Any:
    envelope = st.builds(
        lambda scope, url, some: {"scope": scope, "schema_url": url, records: some},
        scopes,
        urls,
        st.lists(one, min_size=1, max_size=3),
    )
    group = st.builds(
        lambda resource, url, some: {"resource": resource, "schema_url": url, scope_list: some},
        resources,
        urls,
        st.lists(envelope, min_size=1, max_size=2),
    )
    return st.lists(group, min_size=1, max_size=2).map(lambda some: request_type(**{groups: some}))


REQUESTS = {
    "logs": _requests(ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records", log_records),
    "traces": _requests(ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans", spans),
    "metrics": _requests(ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics", metrics()),
}
