"""The second line of redaction: the clients' table of vectors on OTLP messages, and what must stay as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_ingest.decoding import Decoding
from otel_ingest.encode.envelopes import value_of
from otel_ingest.encode.json_format import to_json
from otel_ingest.limits import Limits
from otel_ingest.message_redaction import NOTE_KEY, MessageRedactor, _plain
from otel_ingest.redact import SecondLine
from otel_ingest.redaction import Redactor, shared_rules
from otel_ingest.signals import LOGS, METRICS, TRACES
from otel_ingest.wire import Encoding
from otel_ingest.wire.parsed import Form
from tests.factories import attributes, log_record, logs_request
from tests.strategies import REQUESTS, log_records

VECTORS = json.loads((Path(__file__).parents[2] / "instrumentation" / "redaction" / "vectors.json").read_text())[
    "cases"
]
DEFAULTS = [case for case in VECTORS if "options" not in case]
LINE = SecondLine(shared_rules())
SECRET = "oti secret " + "AKIA" + "Q3EGZRDLM4XNPYTW"  # in two parts: no scanner of repositories shall cry


def record_of(case: dict[str, Any]) -> LogRecord:
    """Return a record that holds the input of a vector where the vector says."""
    record = LogRecord()
    if case["place"] == "text":
        record.body.CopyFrom(value_of(case["input"]))
    else:
        for key, value in case["input"].items():
            record.attributes.add(key=key).value.CopyFrom(value_of(value))
    return record


@pytest.mark.parametrize("case", DEFAULTS, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    """What the clients mask is found on the wire and masked here, and what they leave stays equal."""
    request = logs_request([record_of(case)])
    before = request.SerializeToString()

    assert LINE.suspicious(before) or not case["found"]
    found = LINE.redact(LOGS, request)

    record = request.resource_logs[0].scope_logs[0].log_records[0]
    if not case["found"]:
        assert found == {}
        assert request.SerializeToString() == before
        return
    assert set(found) == {"shop"}
    note = [pair for pair in record.attributes if pair.key == NOTE_KEY]
    assert len(note) == 1
    record.attributes.remove(note[0])
    shown = _plain(record.body) if case["place"] == "text" else {p.key: _plain(p.value) for p in record.attributes}
    assert shown == case["output"]


@settings(max_examples=200, deadline=None)
@given(record=log_records)
def test_what_holds_no_secret_is_not_touched(record: LogRecord) -> None:
    """Any record: unchanged to the byte, or changed with a note that says so."""
    request = logs_request([record])
    before = request.SerializeToString()

    found = LINE.redact(LOGS, request)

    if not found:
        assert request.SerializeToString() == before
    elif not any(
        "otel_ingest.redacted" in p.key for p in request.resource_logs[0].scope_logs[0].log_records[0].attributes
    ):
        assert request.resource_logs[0].resource.attributes


@settings(max_examples=60, deadline=None)
@given(request=REQUESTS["traces"])
def test_any_request_is_looked_at(request: Any) -> None:
    """Every shape of a span: never an error."""
    LINE.redact(TRACES, request)


@settings(max_examples=60, deadline=None)
@given(request=REQUESTS["metrics"])
def test_any_metric_is_looked_at(request: Any) -> None:
    """Every shape of a metric: never an error."""
    LINE.redact(METRICS, request)


def everywhere() -> Any:
    """Return a trace request with a secret in every place a span has."""
    request = TRACES.request_type()
    group = request.resource_spans.add()
    scope = group.scope_spans.add()
    span = scope.spans.add(name=SECRET, trace_state=SECRET)
    span.links.add(trace_state=SECRET)
    span.status.message = SECRET
    for pairs in (
        group.resource.attributes,
        scope.scope.attributes,
        span.attributes,
        span.events.add(name=SECRET).attributes,
        span.links.add().attributes,
    ):
        pairs.add(key="plain").value.string_value = SECRET
        pairs.add(key="db.password").value.string_value = "hunter2"
        pairs.add(key="nested").value.kvlist_value.values.add(key="apiKey").value.string_value = "hunter2"
    return request


def test_every_place_of_a_span_is_looked_at() -> None:
    """Resource, scope, name, state, status, attributes, events, links, nested values."""
    request = everywhere()
    assert LINE.suspicious(request.SerializeToString())

    LINE.redact(TRACES, request)

    left = request.SerializeToString()
    assert SECRET.rsplit(maxsplit=1)[-1].encode() not in left
    assert b"hunter2" not in left


def test_the_name_of_an_event_is_looked_at() -> None:
    """As that of a span is."""
    request = logs_request([LogRecord(event_name=SECRET)])

    assert LINE.redact(LOGS, request) == {"shop": {"aws_key": 1}}
    assert SECRET.rsplit(maxsplit=1)[-1].encode() not in request.SerializeToString()


@pytest.mark.parametrize("order", [("hunter2", ""), ("", "hunter2")])
def test_a_key_that_comes_twice_hides_nothing(order: tuple[str, str]) -> None:
    """Each of the two is stored, so each is looked at, however deep the map lies; what is no secret stays."""
    record = LogRecord()
    for holder in (record.attributes.add(key="a").value, record.body):
        items = holder.array_value.values
        for text in ("--password", "hunter2", "plain"):
            items.add(string_value=text)
        pairs = items.add().kvlist_value.values
        for text in order:
            pairs.add(key="password").value.string_value = text
        for text in ("one", "two"):
            pairs.add(key="same").value.string_value = text
    record.attributes.add(key="token").value.CopyFrom(record.body)
    request = logs_request([record])

    assert LINE.redact(LOGS, request) == {"shop": {"key": 1}}

    left = request.SerializeToString()
    assert b"hunter2" not in left
    assert [left.count(text) for text in (b"one", b"two", b"plain")] == [2, 2, 2]


def test_what_the_clients_leave_is_not_too_deep_here() -> None:
    """They replace what nests deeper than the receiver takes, in a body as in an attribute."""
    value: Any = "text"
    for _ in range(2 * Limits().value_depth_max):
        value = [value]
    engine = Redactor(shared_rules())
    record = LogRecord(body=value_of(engine.value(value, "body", set())))
    for key, left in engine.mapping({"deep": value}, "", set()).items():
        record.attributes.add(key=key).value.CopyFrom(value_of(left))
    decoding = Decoding(LOGS, logs_request([record]).SerializeToString(), Encoding.PROTOBUF, Limits(), 0)
    while decoding.turn(1):
        pass

    assert decoding.decoded.rejections == []


def test_points_and_exemplars_are_looked_at() -> None:
    """Attributes of points, exemplars and metadata."""
    request = METRICS.request_type()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    point = metric.gauge.data_points.add(as_int=1)
    for pairs in (metric.metadata, point.attributes, point.exemplars.add().filtered_attributes):
        pairs.add(key="token").value.string_value = "hunter2"

    found = LINE.redact(METRICS, request)

    assert b"hunter2" not in request.SerializeToString()
    assert found == {"unknown_service": {"key": 1}}


def test_what_cannot_be_looked_at_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of the engine never lets a value through."""
    messages = MessageRedactor(shared_rules())

    def fails(*_: Any) -> Any:
        raise ValueError

    monkeypatch.setattr(messages._redactor, "field", fails)
    monkeypatch.setattr(messages._redactor, "value", fails)
    record = LogRecord(body=AnyValue(string_value="password=hunter2"))
    record.attributes.add(key="password").value.string_value = "hunter2"
    items = record.attributes.add(key="twins").value.array_value.values
    items.add(string_value="password=hunter2")
    for _ in range(2):
        items.add().kvlist_value.values.add(key="a").value.string_value = "password=hunter2"
    twins = record.attributes.add(key="twins").value.kvlist_value.values
    for _ in range(2):
        twins.add(key="a").value.string_value = "password=hunter2"

    assert messages.log_record(record) == {"failed"}

    assert b"hunter2" not in record.SerializeToString()


@pytest.mark.parametrize("encoding", Encoding, ids=lambda e: e.name.lower())
def test_a_rejected_record_is_shown_without_its_secrets(encoding: Encoding) -> None:
    """Its own bytes, masked, in either encoding; what holds none stays equal to the byte."""
    record = LogRecord(body=AnyValue(string_value=SECRET), trace_id=b"too short")
    plain = LogRecord(body=AnyValue(string_value="hello"), trace_id=b"too short")
    record.attributes.add(key="password").value.string_value = "hunter2"
    to_bytes = to_json if encoding is Encoding.JSON else LogRecord.SerializeToString

    shown = LINE.original(LOGS, to_bytes(record), encoding)

    assert b"hunter2" not in shown
    assert SECRET.rsplit(maxsplit=1)[-1].encode() not in shown
    assert b"password" in shown
    assert LINE.original(LOGS, to_bytes(plain), encoding) == to_bytes(plain)


def test_what_cannot_be_parsed_and_may_hold_a_secret_is_not_kept() -> None:
    """Damaged bytes with a sensitive name in them: the reason is kept, the bytes are not."""
    record = LogRecord()
    record.attributes.add(key="password").value.string_value = "hunter2"

    assert LINE.original(LOGS, record.SerializeToString() + b"\xff", Encoding.PROTOBUF) == b""
    assert LINE.original(LOGS, b"harmless\xff", Encoding.PROTOBUF) == b"harmless\xff"
    assert LINE.original(LOGS, b'{"password": ', Encoding.JSON) == b""


def test_a_request_with_a_secret_is_decoded_as_quickly_as_any() -> None:
    """Its masked bytes have the form that compiled code reads, and hold all that is not secret."""
    request = everywhere()
    body = request.SerializeToString()
    LINE.redact(TRACES, request)

    parsed, found = LINE.parse(TRACES, body, Encoding.PROTOBUF, Limits())
    assert (parsed.form, set(found), parsed.size_bytes) == (Form.OUTLINE, {"unknown_service"}, len(body))

    decodings = [
        Decoding(TRACES, body, Encoding.PROTOBUF, Limits(), 0, LINE),
        Decoding(TRACES, request.SerializeToString(), Encoding.PROTOBUF, Limits(), 0),
    ]
    while any(decoding.turn(1) for decoding in decodings):
        pass
    here, there = (decoding.decoded for decoding in decodings)
    assert here.batch.rows == there.batch.rows
    assert len(here.batch.rows) == 1
    assert here.masked == found


def test_a_damaged_request_with_a_secret_is_rejected_record_by_record() -> None:
    """What could not be parsed stays named by its position."""
    request = logs_request([log_record(body={"string_value": SECRET}), log_record(body={"string_value": "x" * 9})])
    body = request.SerializeToString().replace(b"x" * 9, b"x" * 8 + b"\xff")

    parsed, found = LINE.parse(LOGS, body, Encoding.PROTOBUF, Limits())

    assert (parsed.form, found) == (Form.WHOLE, {"shop": {"aws_key": 1}})
    assert (parsed.indexes, len(parsed.rejections)) == ([0], 1)


def test_what_only_looks_suspicious_is_decoded_as_it_came() -> None:
    """A long number may be that of a card; looked at and found to be none, its request keeps the quick form."""
    body = logs_request([log_record(attributes=attributes(at_ns=1_764_240_000_000_000_001))]).SerializeToString()
    assert LINE.suspicious(body)

    parsed, found = LINE.parse(LOGS, body, Encoding.PROTOBUF, Limits())

    assert (parsed.form, found, parsed.size_bytes) == (Form.OUTLINE, {}, len(body))
