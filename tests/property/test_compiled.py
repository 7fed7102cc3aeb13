"""The compiled way against the plain one: for any request, damaged or not, the same rows and the same rejections."""

import json
import math
import time
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_ingest import native
from otel_ingest.decode import decode
from otel_ingest.decode.context import Context
from otel_ingest.decoding import Decoded, Decoding
from otel_ingest.errors import MalformedRequest
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import LOGS, SIGNALS, TRACES, Signal
from otel_ingest.wire import Encoding, Parsed, as_protobuf, json_mapping, parse
from otel_ingest.wire.json_wire import protobuf_of
from otel_ingest.wire.protobuf import parse_whole
from storage.batch import EncodedRows
from storage.columns import LOG_RECORDS, TelemetryTable
from storage.counts import values_of
from storage.encoding import row_encoder
from storage.rows import LogRow, ResourceRow, ScopeRow, SpanRow
from tests.factories import attributes as attributes_of
from tests.factories import log_record, logs_request, span, traces_request
from tests.generate import NOW, UNKNOWN_FIELD, Generator, json_body


def _messages(signal: Signal) -> list[Any]:
    """Return the descriptors of all that a request of a signal may hold."""
    found = [signal.request_type.DESCRIPTOR]
    for descriptor in found:
        found += [f.message_type for f in descriptor.fields if f.message_type and f.message_type not in found]
    return found


needs_library = pytest.mark.skipif(not native.available, reason="no C compiler made the library")
SMALL = Limits(attributes_max=4, value_depth_max=2, record_bytes_max=200)
FEW = Limits(attributes_max=2)
_ATTRIBUTES, _BODY_KIND = map([c.name for c in LOG_RECORDS.columns].index, ("attributes", "body_kind"))
SEEDS = st.integers(0, 2**32)


def told(table: TelemetryTable, encoded: bytes) -> list[Any]:
    """Return the values of a COPY tuple; JSON as Python writes it, int and float apart.

    Of two decimals as short and as near to a double, one may be written for the other.
    """
    found: list[Any] = []
    for column, value in zip(table.columns, values_of(encoded), strict=True):
        is_json = column.type == "jsonb" or (column.name == "body" and found[_BODY_KIND] == b"\0\0\0\2")
        shown = value if value is None or not is_json else json.loads(value.removeprefix(b"\x01"))
        # The order of keys is jsonb's own; a body is text, and is as it was sent.
        found.append(json.dumps(shown, sort_keys=column.name != "body") if is_json else value)
    return found


def outcome(signal: Signal, parsed: Parsed, limits: Limits) -> tuple[list[Any], dict[int, int]]:
    """Return rows in order, and how often each rejected position is named; resources and scopes of no row left out."""
    rows: list[Any] = []
    rejected: dict[int, int] = {}
    envelopes: dict[bytes, Any] = {}
    rejections = list(parsed.rejections)
    encode = row_encoder(signal.table)
    place = [c.name for c in signal.table.columns].index("resource_id")
    for item in decode(signal, parsed, received_ns=NOW, limits=limits):
        if isinstance(item, Rejection):
            rejections.append(item)
        elif isinstance(item, ResourceRow | ScopeRow):
            envelopes[item.id] = item
        else:
            for encoded in item.rows if isinstance(item, EncodedRows) else [encode(item)]:
                values = told(signal.table, encoded)
                rows.append((envelopes[values[place]], envelopes[values[place + 1]], values))
    for rejection in rejections:
        for index in range(rejection.index, rejection.index + rejection.count):
            rejected[index] = rejected.get(index, 0) + 1
    return rows, rejected


def decoded(signal: Signal, body: bytes, limits: Limits) -> Decoded:
    """Return what a protobuf body decodes to, a few records a turn."""
    decoding = Decoding(signal, body, Encoding.PROTOBUF, limits, NOW)
    while decoding.turn(3):
        pass
    return decoding.decoded


def compare_books(signal: Signal, body: bytes, limits: Limits) -> None:
    """Both ways say the same of the rows of a protobuf body: positions, days, counts, sizes."""
    books = []
    for available in (native.available, False):
        with mock.patch.object(native, "available", new=available):
            it = decoded(signal, body, limits)
        assert it.batch.size_bytes == sum(map(len, it.batch.rows)) == sum(it.bytes_by_component.values())
        days = {it.batch.day_of_row(i) for i in range(len(it.batch.rows))}
        assert days == it.batch.days
        rejections = {r.index + n for r in it.rejections for n in range(r.count)}
        named = {it.batch.interned_of_row(i) for i in range(len(it.batch.rows))}
        books.append((it.batch.counts, days, it.positions, rejections, len(it.batch.rows), named))
    assert books[0] == books[1]


def compare_json(signal: Signal, body: bytes, limits: Limits) -> bool:
    """Both ways say the same of an OTLP/JSON body, or it is left to the plain one; return whether it was not."""
    made = protobuf_of(signal, body, limits)
    if made is None:
        return False
    whole = json_mapping.parse_whole(signal, body, limits)
    assert not whole.rejections
    assert told_of(signal.request_type.FromString(made)) == told_of(whole.message)
    return True


def told_of(message: Any) -> bytes:
    """Return what a message holds; NaN is not equal to itself, its bytes are."""
    return bytes(message.SerializeToString(deterministic=True))


def compare(signal: Signal, body: bytes, limits: Limits) -> None:
    """Both ways say the same of a body, or both that it is no request."""
    try:
        whole = parse_whole(signal, body)
    except MalformedRequest:
        with pytest.raises(MalformedRequest):
            parse(signal, body, Encoding.PROTOBUF, limits)
        return
    whole.size_bytes = len(body)
    assert outcome(signal, parse(signal, body, Encoding.PROTOBUF, limits), limits) == outcome(signal, whole, limits)
    compare_books(signal, body, limits)


@settings(max_examples=500, deadline=None)
@given(signal=st.sampled_from([LOGS, TRACES]), seed=SEEDS, limits=st.sampled_from([Limits(), SMALL, FEW]))
def test_both_ways_make_the_same_rows(signal: Signal, seed: int, limits: Limits) -> None:
    """Any request that an encoder can make."""
    compare(signal, Generator(seed).request(signal).SerializeToString(), limits)


@settings(max_examples=500, deadline=None)
@given(signal=st.sampled_from([LOGS, TRACES]), seed=SEEDS)
def test_both_ways_see_the_same_damage(signal: Signal, seed: int) -> None:
    """Bytes changed, taken out, put in or doubled, anywhere."""
    generator = Generator(seed)
    compare(signal, generator.damaged(generator.request(signal).SerializeToString()), Limits())


@needs_library
@settings(max_examples=500, deadline=None)
@given(signal=st.sampled_from(SIGNALS), seed=SEEDS, limits=st.sampled_from([Limits(), SMALL, FEW]))
def test_both_ways_read_the_same_json(signal: Signal, seed: int, limits: Limits) -> None:
    """As encoded, with values replaced, and with bytes changed."""
    generator = Generator(seed)
    body = json_body(generator.request(signal))
    compare_json(signal, body, limits)
    compare_json(signal, json.dumps(generator.damaged_json(json.loads(body)), indent=seed % 3).encode(), limits)
    compare_json(signal, generator.damaged(body), limits)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**65), 2**65),
        st.floats(),
        st.text(max_size=6),
        st.integers(-(2**65), 2**65).map(str),
        st.sampled_from(["NaN", "-Infinity", "1e3", "0a", "0A0b", "007", "-0", "AQ=="]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["stringValue", "arrayValue", "values", "kvlistValue", "key", "value"]), inner),
    ),
    max_leaves=6,
)
FIELDS = sorted({f.json_name for s in SIGNALS for m in _messages(s) for f in m.fields} | {"unheard"})


@needs_library
@settings(max_examples=1500, deadline=None)
@given(signal=st.sampled_from(SIGNALS), members=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4))
def test_any_value_in_any_field_is_read_the_same(signal: Signal, members: dict[str, Any]) -> None:
    """Of a record, of an attribute, of a resource; what is wrong is left to the plain way."""
    groups, scopes, records = signal.json_lists
    resource = {"resource": {"attributes": [members, {"key": "k", "value": members}]}}
    for made in (
        {groups: [{scopes: [{records: [members]}]}]},
        {groups: [resource | {scopes: [{records: [{"attributes": [{"key": "k", "value": members}]}]}]}]},
    ):
        compare_json(signal, json.dumps(made).encode(), Limits())


@needs_library
@pytest.mark.parametrize(
    "body",
    [
        '{"resourceLogs":null}',
        ' { "resourceLogs" : [ ] , "x" : [1, -0.5e+3, {"a": {"b": [null, true, "\\u0041\\ud83d\\ude00\\n"]}}] } \n',
        '{"resourceLogs":[{"schemaUrl":"\\u00fc\\u20ac\\ud83d\\ude00\\/ü€😀"}]}',
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":-1,"flags":"7","traceId":"0aBC"}]}]}]}',
        '{"resourceLogs":[{"resource":{}}]}',
        '{"resourceLogs":[{"resource":null,"resource":{}}]}',
    ],
)
def test_json_as_it_may_be_written_is_made_protobuf(body: str) -> None:
    """Spaces, escapes, null, numbers as text, fields unheard of."""
    assert compare_json(LOGS, body.encode(), Limits())


@needs_library
@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{} x",
        '{"resourceLogs":{}}',
        '{"resourceLogs":[],"resourceLogs":[]}',
        '{"resourceLogs":[{"resource":{},"resource":null}]}',
        '{"resourceLogs":[{"schemaUrl":"\\ud83d"}]}',
        '{"resourceLogs":[{"schemaUrl":"\\ud83d\\u0041"}]}',
        '{"resourceLogs":[{"schemaUrl":"a\nb"}]}',
        '{"resourceLogs":[{"schemaUrl":1}]}',
        '{"resourceLogs":[{"schemaUrl":"\\x"}]}',
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"1"}]}]}]}',
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"abc"}]}]}]}',
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"18446744073709551616"}]}]}]}',
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"intValue":1,"boolValue":true}}]}]}]}',
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"doubleValue":-0}}]}]}]}',
        '{"a":' + "[" * 100 + "]" * 100 + "}",
        '{"a":01}',
        '{"a":1.}',
        '{"a":tru}',
        '{"a":1,}',
        "\ufeff{}",
    ],
)
def test_json_that_is_not_as_it_should_be_is_left_to_the_plain_way(body: str) -> None:
    """Which says what is wrong, or makes of it what is right."""
    assert protobuf_of(LOGS, body.encode(), Limits()) is None


scalars = st.one_of(
    st.text(max_size=200).map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
    st.floats().map(lambda v: AnyValue(double_value=v)),
    st.decimals(-(10**6), 10**6, places=4).map(lambda v: AnyValue(double_value=float(v))),
    st.binary(max_size=3).map(lambda v: AnyValue(bytes_value=v)),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda v: AnyValue(array_value={"values": v})),
        st.dictionaries(st.text(max_size=4), inner, max_size=4).map(
            lambda v: AnyValue(kvlist_value={"values": [KeyValue(key=k, value=i) for k, i in v.items()]})
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=1000, deadline=None)
@given(key=st.text(max_size=150), value=values, as_body=st.booleans())
@example(key="k", value=AnyValue(double_value=-0.0), as_body=False)
@example(key="k", value=AnyValue(double_value=5e-324), as_body=False)
@example(key="k", value=AnyValue(double_value=0.1 + 0.2), as_body=False)
@example(key="k", value=AnyValue(double_value=9.999999999999999e15), as_body=False)
@example(key="k" * 125, value=AnyValue(string_value="v" * 125), as_body=True)
@example(key='\x7f\x1f\n"\\\u2028', value=AnyValue(string_value="\x00"), as_body=True)
def test_a_value_is_the_same_both_ways(key: str, value: AnyValue, as_body: bool) -> None:
    """Of every kind, as an attribute and as a body."""
    record = log_record(body=value) if as_body else log_record(attributes=[KeyValue(key=key, value=value)])
    compare(LOGS, logs_request([record]).SerializeToString(), Limits())


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=12), where=st.sampled_from(["key", "value", "body", "text", "trace_id", "name"]))
@example(data=b"\xed\xa0\x80", where="value")
@example(data=b"\xf4\x90\x80\x80", where="value")
@example(data=b"\xc0\x80", where="text")
@example(data=b"aaaaaaa\xe2\x82", where="body")
def test_text_that_is_none_is_seen_both_ways(data: bytes, where: str) -> None:
    """Invalid UTF-8 anywhere, and ids of any length."""
    inner = bytes([len(data)]) + data
    pair_of = {
        "key": b"\n" + inner + b"\x12\x00",
        "value": b"\n\x01k\x12" + bytes([len(inner) + 1]) + b"\n" + inner,
    }
    fields = {
        "body": b"*" + bytes([len(inner) + 1]) + b"\n" + inner,
        "text": b"\x1a" + inner,
        "trace_id": b"J" + inner,
        "name": b"b" + inner,
    }
    pair = pair_of.get(where, b"")
    record = fields.get(where) or b"2" + bytes([len(pair)]) + pair
    scope = b"\x12" + bytes([len(record)]) + record
    group = b"\x12" + bytes([len(scope)]) + scope
    compare(LOGS, b"\n" + bytes([len(group)]) + group, Limits())


@needs_library
@settings(max_examples=500, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False, min_value=-9e15, max_value=9e15))
def test_a_double_is_written_as_short_as_can_be(value: float) -> None:
    """As short as the plain way writes it, and not left to it."""
    assume(value or math.copysign(1, value) > 0)
    request = logs_request([log_record(attributes=attributes_of(d=value))])
    decoding = decoded(LOGS, request.SerializeToString(), Limits())
    (encoded,) = decoding.batch.rows
    text, plain = values_of(encoded)[_ATTRIBUTES], b"\x01" + orjson.dumps({"d": value})
    assert text is not None
    assert len(text) <= len(plain) + 1  # where the shorter decimal lies exactly between two
    assert orjson.loads(text[1:]) == {"d": value}


def plain_calls(monkeypatch: pytest.MonkeyPatch, record: LogRecord, encoding: Encoding = Encoding.PROTOBUF) -> int:
    """Return how many records of two went the plain way."""
    calls = []
    real = Context.values
    monkeypatch.setattr(Context, "values", lambda context: calls.append(context) or real(context))
    request = logs_request([record, record])
    body = request.SerializeToString() if encoding is Encoding.PROTOBUF else json_body(request)
    parsed = parse(LOGS, *as_protobuf(LOGS, body, encoding, Limits()), Limits())
    items = [*decode(LOGS, parsed, received_ns=time.time_ns(), limits=Limits())]
    assert sum(len(i.rows) if isinstance(i, EncodedRows) else isinstance(i, LogRow) for i in items) == 2
    return len(calls)


@needs_library
@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"attributes": attributes_of(a="x", b=1, c=-1, d=2.5, e=True, f="long " * 100)},
        {"body": AnyValue(string_value="long " * 1000)},
        {"trace_id": b"", "span_id": b"", "body": None, "event_name": "e"},
    ],
)
def test_what_is_usual_goes_the_compiled_way(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], encoding: Encoding
) -> None:
    """Else it would be right, and slow."""
    assert plain_calls(monkeypatch, log_record(**fields), encoding) == 0


@pytest.mark.parametrize(
    "attributes",
    [
        [{"key": "k", "value": {"doubleValue": -0.0}}],
        [{"key": "k", "value": {"doubleValue": 1e16}}],
        [{"key": "k", "value": {"stringValue": "a\0b"}}],
        [{"key": "k", "value": {"stringValue": "v"}, "keyStrindex": 1}],
        [{"key": "k"}],
        [{"key": "k", "value": {}}],
        [{"value": {"intValue": 1}}],
        [{"key": "k", "value": {"intValue": 1}}, {"key": "k", "value": {"intValue": "1"}}],
        [{"key": k, "value": {"boolValue": True}} for k in "abc"],
    ],
)
def test_what_is_unusual_in_json_is_as_the_plain_way_has_it(attributes: list[dict[str, Any]]) -> None:
    """Each alone, so that each is met."""
    record = {"timeUnixNano": str(NOW), "attributes": attributes}
    event = {"startTimeUnixNano": str(NOW), "events": [{"attributes": attributes}]}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    traces = {"resourceSpans": [{"scopeSpans": [{"spans": [event]}]}]}
    for limits in (Limits(), FEW):
        compare_json(LOGS, json.dumps(logs).encode(), limits)
        compare_json(TRACES, json.dumps(traces).encode(), limits)


@needs_library
def test_a_structured_body_goes_the_compiled_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Structured logs are usual."""
    record = log_record(body=AnyValue(kvlist_value={"values": attributes_of(a=1, b="x")}))
    assert plain_calls(monkeypatch, record) == 0


@pytest.mark.parametrize("body", [{"string_value": "a"}, {"kvlist_value": {"values": attributes_of(a=1)}}])
def test_a_message_that_stands_twice_is_merged(body: dict[str, Any]) -> None:
    """As any parser does it: body, status and resource in two parts."""
    twice = LogRecord(body=body).SerializeToString() + LogRecord(body=body).SerializeToString()
    record = b"\x12" + bytes([len(twice)]) + twice
    scope = b"\x12" + bytes([len(record)]) + record
    resource = b"\x0a\x05\x0a\x03\x0a\x01a" + b"\x0a\x05\x0a\x03\x0a\x01b"
    compare(LOGS, b"\x0a" + bytes([len(resource) + len(scope)]) + resource + scope, Limits())


@needs_library
def test_what_is_unusual_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields of a newer OTLP, at the top and within an attribute: kept in the record's own bytes."""
    short = KeyValue(key="k", value={"int_value": 1}).SerializeToString()
    long = KeyValue(key="k", value={"string_value": "v" * 200}).SerializeToString()
    bodies = [AnyValue(string_value="v" * 200).SerializeToString(), b""]
    newer = [
        LogRecord.FromString(log_record().SerializeToString() + UNKNOWN_FIELD),
        *(log_record(attributes=[KeyValue.FromString(a + UNKNOWN_FIELD)]) for a in (short, long)),
        *(log_record(body=AnyValue.FromString(b + UNKNOWN_FIELD)) for b in bodies),
        log_record(attributes=[KeyValue(key="k", value={"string_value": "v" * 200}, key_strindex=1)]),
    ]
    for record in newer:
        assert plain_calls(monkeypatch, record) == 2
        parsed = parse(LOGS, logs_request([record]).SerializeToString(), Encoding.PROTOBUF, Limits())
        (row,) = [r for r in decode(LOGS, parsed, received_ns=time.time_ns(), limits=Limits()) if isinstance(r, LogRow)]
        assert row.exact == record.SerializeToString()


@pytest.mark.parametrize("part", ["events", "links", "status"])
def test_what_is_newer_in_a_part_of_a_span_is_kept(part: str) -> None:
    """Events, links and status are looked into as well."""
    newer = span(events=[{"name": "e"}], links=[{"trace_id": b"\x01" * 16}])
    target = newer.status if part == "status" else getattr(newer, part)[0]
    target.MergeFromString(UNKNOWN_FIELD)
    parsed = parse(TRACES, traces_request([newer]).SerializeToString(), Encoding.PROTOBUF, Limits())

    (row,) = [r for r in decode(TRACES, parsed, received_ns=time.time_ns(), limits=Limits()) if isinstance(r, SpanRow)]

    assert row.exact == newer.SerializeToString()


def test_a_truth_value_of_another_encoding_is_the_same_both_ways() -> None:
    """Any varint but 0 is true; an encoder writes 1."""
    pair = b"\n\x01k\x12\x02\x10\x02"
    record = b"2" + bytes([len(pair)]) + pair
    scope = b"\x12" + bytes([len(record)]) + record
    group = b"\x12" + bytes([len(scope)]) + scope
    compare(LOGS, b"\n" + bytes([len(group)]) + group, Limits())
