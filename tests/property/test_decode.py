"""Decode: any bytes are a request or a MalformedRequest; what a row says exactly is what was sent."""

import base64
import json
import math
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_ingest.decode import decode
from otel_ingest.errors import MalformedRequest, RequestError
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import LOGS, SIGNALS, Signal
from otel_ingest.wire import Encoding, parse, protobuf
from otel_ingest.wire.codings import Decompressor
from otel_ingest.wire.json_mapping import parse_whole
from storage.rows import LogRow
from tests.factories import logs_request

LIMITS = Limits()
NOW = time.time_ns()

scalars = st.one_of(
    st.none().map(lambda _: AnyValue()),
    st.text(max_size=20).map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
    # One NaN: JSON has no way to write the bits of another.
    st.one_of(st.floats(allow_nan=False), st.just(math.nan)).map(lambda v: AnyValue(double_value=v)),
    st.binary(max_size=20).map(lambda v: AnyValue(bytes_value=v)),
)
keys = st.text(max_size=8)


def containers(children: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    """Return arrays and key-value lists of ``children``."""
    pairs = st.lists(st.builds(lambda k, v: KeyValue(key=k, value=v), keys, children), max_size=4)
    return st.one_of(
        st.lists(children, max_size=4).map(lambda v: AnyValue(array_value={"values": v})),
        pairs.map(lambda v: AnyValue(kvlist_value={"values": v})),
    )


values = st.recursive(scalars, containers, max_leaves=8)
attributes = st.lists(st.builds(lambda k, v: KeyValue(key=k, value=v), keys, values), max_size=5)
records = st.builds(
    LogRecord,
    time_unix_nano=st.one_of(st.just(0), st.integers(NOW - 10**17, NOW + 10**17)),
    observed_time_unix_nano=st.one_of(st.just(0), st.integers(NOW - 10**17, NOW + 10**17)),
    severity_number=st.integers(0, 24),
    severity_text=st.text(max_size=10),
    event_name=st.text(max_size=10),
    flags=st.integers(0, 2**32 - 1),
    dropped_attributes_count=st.integers(0, 2**32 - 1),
    trace_id=st.one_of(st.just(b""), st.binary(min_size=16, max_size=16)),
    span_id=st.one_of(st.just(b""), st.binary(min_size=8, max_size=8)),
    attributes=attributes,
    body=st.one_of(st.none(), values),
)


def value_of(item: Any) -> AnyValue:  # noqa: PLR0911 - one line a type
    """Return the value that JSON of a row without ``exact`` stands for."""
    if item is None:
        return AnyValue()
    if isinstance(item, bool):
        return AnyValue(bool_value=item)
    if isinstance(item, int):
        return AnyValue(int_value=item)
    if isinstance(item, float):
        return AnyValue(double_value=item)
    if isinstance(item, str):
        return AnyValue(string_value=item)
    if isinstance(item, list):
        return AnyValue(array_value={"values": [value_of(v) for v in item]})
    return AnyValue(kvlist_value={"values": [KeyValue(key=k, value=value_of(v)) for k, v in item.items()]})


def rebuilt(row: LogRow) -> LogRecord:
    """Return the record that a row stands for: its exact bytes, or its columns."""
    if row.exact is not None:
        return LogRecord.FromString(row.exact)
    body = None
    if row.body_kind == 1:
        body = AnyValue(string_value=row.body or "")
    elif row.body_kind == 2:
        body = value_of(json.loads(row.body or ""))
    return LogRecord(
        time_unix_nano=row.time_unix_nano & (2**64 - 1),
        observed_time_unix_nano=row.observed_time_unix_nano & (2**64 - 1),
        severity_number=row.severity_number,
        severity_text=row.severity_text,
        event_name=row.event_name,
        flags=row.flags & (2**32 - 1),
        dropped_attributes_count=row.dropped_attributes_count & (2**32 - 1),
        trace_id=row.trace_id or b"",
        span_id=b"" if row.span_id is None else row.span_id.to_bytes(8, "big", signed=True),
        attributes=[KeyValue(key=k, value=value_of(v)) for k, v in json.loads(row.attributes).items()],
        body=body,
    )


@settings(max_examples=400, deadline=None)
@given(record=records)
def test_a_row_stands_for_the_whole_record(record: LogRecord) -> None:
    """Columns, or the exact bytes where columns cannot hold it: the record comes back equal."""
    parsed = protobuf.parse_whole(LOGS, logs_request([record]).SerializeToString())
    rows = [i for i in decode(LOGS, parsed, received_ns=NOW, limits=LIMITS) if isinstance(i, LogRow | Rejection)]

    assert len(rows) == 1
    assert isinstance(rows[0], LogRow), rows[0]
    assert rebuilt(rows[0]).SerializeToString(deterministic=True) == record.SerializeToString(deterministic=True)
    for field in rows[0]:
        assert not (isinstance(field, str) and "\0" in field)


def json_value(value: AnyValue) -> dict[str, Any]:
    """Return a value as OTLP/JSON writes it."""
    kind = value.WhichOneof("value")
    if kind is None:
        return {}
    if kind == "array_value":
        return {"arrayValue": {"values": [json_value(v) for v in value.array_value.values]}}
    if kind == "kvlist_value":
        pairs = [{"key": p.key, "value": json_value(p.value)} for p in value.kvlist_value.values]
        return {"kvlistValue": {"values": pairs}}
    raw = getattr(value, kind)
    if kind == "bytes_value":
        return {"bytesValue": base64.b64encode(raw).decode()}
    if kind == "double_value" and not math.isfinite(raw):
        return {"doubleValue": "NaN" if math.isnan(raw) else "Infinity" if raw > 0 else "-Infinity"}
    name = kind.split("_")[0] + "Value"
    return {name: str(raw) if kind == "int_value" else raw}


@settings(max_examples=200, deadline=None)
@given(body=values)
def test_json_and_protobuf_say_the_same(body: AnyValue) -> None:
    """A value written as OTLP/JSON becomes the message that protobuf would have been."""
    record = {"body": json_value(body), "traceId": "AB" * 16}
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}

    parsed = parse_whole(LOGS, json.dumps(document).encode(), LIMITS)

    assert not parsed.rejections
    got = parsed.message.resource_logs[0].scope_logs[0].log_records[0]
    assert got.body.SerializeToString() == body.SerializeToString()
    assert got.trace_id == b"\xab" * 16


@settings(max_examples=400, deadline=None)
@given(signal=st.sampled_from(SIGNALS), body=st.binary(max_size=200), encoding=st.sampled_from(Encoding))
def test_any_bytes_are_a_request_or_malformed(signal: Signal, body: bytes, encoding: Encoding) -> None:
    """Never another exception."""
    try:
        parsed = parse(signal, body, encoding, LIMITS)
    except MalformedRequest:
        return
    list(decode(signal, parsed, received_ns=NOW, limits=LIMITS))


@settings(max_examples=300, deadline=None)
@given(record=records, data=st.data())
def test_a_damaged_request_is_salvaged_or_malformed(record: LogRecord, data: st.DataObject) -> None:
    """Any byte changed: some records come back, or the framing is said to be broken; never another exception."""
    body = bytearray(logs_request([record, record]).SerializeToString())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse(LOGS, bytes(body), Encoding.PROTOBUF, LIMITS)
    except MalformedRequest:
        return
    list(decode(LOGS, parsed, received_ns=NOW, limits=LIMITS))


json_documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda c: st.one_of(
        st.lists(c, max_size=3),
        st.dictionaries(
            st.sampled_from(["resourceLogs", "scopeLogs", "logRecords", "body", "stringValue", "traceId", "x"]), c
        ),
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(document=json_documents, signal=st.sampled_from(SIGNALS))
def test_any_json_is_a_request_or_malformed(document: Any, signal: Signal) -> None:
    """OTLP's names in any order and nesting: never another exception."""
    try:
        parsed = parse(signal, json.dumps(document).encode(), Encoding.JSON, LIMITS)
    except MalformedRequest:
        return
    list(decode(signal, parsed, received_ns=NOW, limits=LIMITS))


@settings(max_examples=200, deadline=None)
@given(coding=st.sampled_from(["gzip", "deflate", "zstd"]), data=st.binary(max_size=300), cut=st.integers(1, 50))
def test_any_compressed_bytes_are_bounded(coding: str, data: bytes, cut: int) -> None:
    """Garbage in any pieces: bytes within the limit, or an error of the sender's."""
    decompressor = Decompressor(coding, 1000)
    try:
        pieces = [p for i in range(0, len(data), cut) for p in decompressor.feed(data[i : i + cut])]
        decompressor.finish()
    except RequestError:
        return
    assert sum(map(len, pieces)) <= 1000
