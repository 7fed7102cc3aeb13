"""Spans and metric points: what a row says without ``exact`` is what was sent; odd requests never raise."""

import json
import time
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_ingest.decode import decode
from otel_ingest.errors import MalformedRequest
from otel_ingest.limits import Limits
from otel_ingest.signals import METRICS, SIGNALS, TRACES, Signal
from otel_ingest.wire import Encoding, parse
from otel_ingest.wire.protobuf import parse_whole
from storage.rows import MetricPointRow, ResourceRow, ScopeRow, SpanRow
from tests.factories import traces_request

LIMITS = Limits()
NOW = time.time_ns()
U32, U64 = 2**32 - 1, 2**64 - 1

u32, u64 = st.integers(0, U32), st.integers(0, U64)
times = st.one_of(st.just(0), st.integers(NOW - 10**17, NOW + 10**17))
trace_ids = st.one_of(st.just(b""), st.just(bytes(16)), st.binary(min_size=16, max_size=16))
span_ids = st.one_of(st.just(b""), st.just(bytes(8)), st.binary(min_size=8, max_size=8))
text = st.text(max_size=6)
doubles = st.floats()
pairs = st.one_of(
    st.builds(lambda k, v: KeyValue(key=k, value=AnyValue(int_value=v)), text, st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda k, v: KeyValue(key=k, value=AnyValue(double_value=v)), text, doubles),
    st.builds(lambda k, v: KeyValue(key=k, value=AnyValue(string_value=v)), text, text),
    st.builds(lambda k, n: KeyValue(key=k, key_strindex=n), text, st.integers(0, 2)),
)
attributes = st.lists(pairs, max_size=3)


def value_of(item: Any) -> AnyValue:
    """Return the value that JSON stands for."""
    kind = {int: "int_value", float: "double_value", str: "string_value"}[type(item)]
    return AnyValue(**{kind: item})


def pairs_of(data: dict[str, Any]) -> list[KeyValue]:
    """Return the attributes that a JSON object stands for."""
    return [KeyValue(key=k, value=value_of(v)) for k, v in data.items()]


def id_of(value: int | None) -> bytes:
    """Return a span id of its column."""
    return b"" if value is None else value.to_bytes(8, "big", signed=True)


spans = st.builds(
    Span,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_span_id=span_ids,
    trace_state=text,
    flags=u32,
    name=text,
    kind=st.integers(-(2**31), 2**31 - 1),
    start_time_unix_nano=times,
    end_time_unix_nano=u64,
    attributes=attributes,
    dropped_attributes_count=u32,
    dropped_events_count=u32,
    dropped_links_count=u32,
    status=st.one_of(
        st.none(), st.builds(lambda c, m: {"code": c, "message": m}, st.integers(-(2**31), 2**31 - 1), text)
    ),
    events=st.lists(
        st.builds(Span.Event, time_unix_nano=u64, name=text, attributes=attributes, dropped_attributes_count=u32),
        max_size=2,
    ),
    links=st.lists(
        st.builds(Span.Link, trace_id=trace_ids, span_id=span_ids, trace_state=text, attributes=attributes, flags=u32),
        max_size=2,
    ),
).filter(lambda s: s.start_time_unix_nano or not s.end_time_unix_nano)


def rebuilt_span(row: SpanRow) -> Span:
    """Return the span that the columns alone stand for."""
    events = [e | {"attributes": pairs_of(e["attributes"])} for e in orjson.loads(row.events or b"[]")]
    links = [
        link
        | {name: bytes.fromhex(link[name]) for name in ("trace_id", "span_id")}
        | {"attributes": pairs_of(link["attributes"])}
        for link in orjson.loads(row.links or b"[]")
    ]
    return Span(
        trace_id=row.trace_id or b"",
        span_id=id_of(row.span_id),
        parent_span_id=id_of(row.parent_span_id),
        trace_state=row.trace_state,
        flags=row.flags & U32,
        name=row.name,
        kind=row.kind,
        start_time_unix_nano=row.start_time_unix_nano & U64,
        end_time_unix_nano=row.end_time_unix_nano & U64,
        attributes=pairs_of(orjson.loads(row.attributes)),
        dropped_attributes_count=row.dropped_attributes_count & U32,
        dropped_events_count=row.dropped_events_count & U32,
        dropped_links_count=row.dropped_links_count & U32,
        status=None if row.status_code is None else {"code": row.status_code, "message": row.status_message},
        events=events,
        links=links,
    )


@settings(max_examples=300, deadline=None)
@given(span=spans)
def test_a_row_stands_for_the_whole_span(span: Span) -> None:
    """Events, links, status and counts too; where columns cannot hold it, the exact bytes do."""
    parsed = parse_whole(TRACES, traces_request([span]).SerializeToString())
    (row,) = [i for i in decode(TRACES, parsed, received_ns=NOW, limits=LIMITS) if isinstance(i, SpanRow)]

    got = rebuilt_span(row) if row.exact is None else Span.FromString(row.exact)
    assert got.SerializeToString(deterministic=True) == span.SerializeToString(deterministic=True)


exemplars = st.lists(
    st.one_of(
        st.builds(lambda v: {"as_double": v}, doubles),
        st.builds(
            lambda v, t, a: {"as_int": v, "trace_id": t, "filtered_attributes": a},
            st.integers(0, 9),
            trace_ids,
            attributes,
        ),
        st.builds(lambda t: {"time_unix_nano": t}, u64),
    ),
    max_size=2,
)
common: dict[str, st.SearchStrategy[Any]] = {
    "time_unix_nano": times,
    "start_time_unix_nano": times,
    "attributes": attributes,
    "flags": u32,
}
optional = st.one_of(st.none(), doubles)
buckets = st.one_of(
    st.none(), st.fixed_dictionaries({"offset": st.integers(-9, 9), "bucket_counts": st.lists(u64, max_size=3)})
)
POINTS = {
    "gauge": st.fixed_dictionaries(common | {"as_double": optional, "exemplars": exemplars}),
    "sum": st.fixed_dictionaries(common | {"as_int": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))}),
    "histogram": st.fixed_dictionaries(
        common
        | {"count": u64, "sum": optional, "min": optional, "max": optional, "exemplars": exemplars}
        | {"bucket_counts": st.lists(u64, max_size=3), "explicit_bounds": st.lists(doubles, max_size=2)}
    ),
    "exponential_histogram": st.fixed_dictionaries(
        common
        | {"count": u64, "sum": optional, "min": optional, "max": optional, "exemplars": exemplars}
        | {"scale": st.integers(-(2**31), 2**31 - 1), "zero_count": u64, "zero_threshold": doubles}
        | {"positive": buckets, "negative": buckets}
    ),
    "summary": st.fixed_dictionaries(
        common
        | {"count": u64, "sum": doubles}
        | {"quantile_values": st.lists(st.fixed_dictionaries({"quantile": doubles, "value": doubles}), max_size=2)}
    ),
}
NUMBERS = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponential_histogram", 11: "summary"}


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    """Draw a metric of any kind with one point."""
    kind = draw(st.sampled_from(sorted(POINTS)))
    holder: dict[str, Any] = {"data_points": [draw(POINTS[kind])]}
    if kind not in {"gauge", "summary"}:
        holder["aggregation_temporality"] = draw(st.integers(0, 3))
    if kind == "sum":
        holder["is_monotonic"] = draw(st.booleans())
    head = {"name": draw(text), "unit": draw(text), "description": draw(text), "metadata": draw(attributes)}
    return Metric(**head, **{kind: holder})


def rebuilt_metric(row: MetricPointRow) -> Metric:
    """Return the metric with one point that the columns alone stand for."""
    kind = NUMBERS[row.type]
    point = orjson.loads(row.data or b"{}") | {
        "time_unix_nano": row.time_unix_nano & U64,
        "start_time_unix_nano": row.start_time_unix_nano & U64,
        "attributes": pairs_of(orjson.loads(row.attributes)),
        "flags": row.flags & U32,
        "as_int": row.value_int,
        "as_double": row.value_double,
        "exemplars": [
            e
            | {name: bytes.fromhex(e[name]) for name in ("trace_id", "span_id")}
            | {"filtered_attributes": pairs_of(e["filtered_attributes"])}
            for e in orjson.loads(row.exemplars or b"[]")
        ],
    }
    if kind not in {"gauge", "sum"}:
        del point["as_int"], point["as_double"]
    if kind == "summary":
        del point["exemplars"]
    holder: dict[str, Any] = {"data_points": [point]}
    if kind not in {"gauge", "summary"}:
        holder["aggregation_temporality"] = row.aggregation_temporality
    if kind == "sum":
        holder["is_monotonic"] = row.is_monotonic
    head = {"name": row.name, "unit": row.unit, "description": row.description}
    return Metric(**head, metadata=pairs_of(orjson.loads(row.metadata or b"{}")), **{kind: holder})


@settings(max_examples=500, deadline=None)
@given(metric=metrics())
def test_a_row_stands_for_the_whole_point(metric: Metric) -> None:
    """All five kinds, exemplars and metadata too."""
    request = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [metric]}]}])
    parsed = parse(METRICS, request.SerializeToString(), Encoding.PROTOBUF, LIMITS)
    (row,) = [i for i in decode(METRICS, parsed, received_ns=NOW, limits=LIMITS) if isinstance(i, MetricPointRow)]

    got = rebuilt_metric(row) if row.exact is None else Metric.FromString(row.exact)
    assert got.SerializeToString(deterministic=True) == metric.SerializeToString(deterministic=True)


wrong = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["\ud800", "x", "1", "ab"]),
)


def messages(descriptor: Any, depth: int = 6) -> st.SearchStrategy[Any]:
    """Return JSON of a message's own shape, with a wrong value anywhere."""
    if depth == 0:
        return wrong
    fields = {}
    for field in descriptor.fields:
        one = messages(field.message_type, depth - 1) if field.message_type else wrong
        fields[field.json_name] = st.lists(one, max_size=2) if field.is_repeated else one
    shape = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True)
    return st.one_of(shape.flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names})), wrong)


SHAPES = {signal.name: st.deferred(lambda s=signal: messages(s.request_type.DESCRIPTOR)) for signal in SIGNALS}


@settings(max_examples=500, deadline=None)
@given(signal=st.sampled_from(SIGNALS), data=st.data())
def test_wrong_values_anywhere_never_raise(signal: Signal, data: st.DataObject) -> None:
    """Right names, wrong values, at any depth: a request or MalformedRequest."""
    document = data.draw(SHAPES[signal.name])
    try:
        parsed = parse(signal, json.dumps(document).encode(), Encoding.JSON, LIMITS)
    except MalformedRequest:
        return
    list(decode(signal, parsed, received_ns=NOW, limits=LIMITS))


@settings(max_examples=300, deadline=None)
@given(metric=metrics(), data=st.data())
def test_damaged_metrics_keep_their_positions(metric: Metric, data: st.DataObject) -> None:
    """Any byte changed: never another exception, and each point has one position of its own."""
    request = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [metric, metric]}]}])
    body = bytearray(request.SerializeToString())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse(METRICS, bytes(body), Encoding.PROTOBUF, LIMITS)
    except MalformedRequest:
        return
    items = list(decode(METRICS, parsed, received_ns=NOW, limits=LIMITS))
    rows = [i for i in items if not isinstance(i, ResourceRow | ScopeRow)]
    if parsed.indexes is not None:
        assert len(rows) == len(parsed.indexes)
