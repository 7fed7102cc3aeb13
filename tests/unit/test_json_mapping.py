"""OTLP/JSON: what is read, what costs only its record, and that hostile bodies stay cheap."""

import time
from typing import Any

import orjson
import pytest

from otel_ingest.errors import MalformedRequest
from otel_ingest.limits import Limits
from otel_ingest.signals import LOGS, METRICS
from otel_ingest.wire import Encoding, Parsed, parse
from otel_ingest.wire.json_mapping import parse_whole
from otel_ingest.wire.json_salvage import DEPTH_MAX, prune

SURROGATE = "\\ud800"


def logs(*records: Any, group: dict[str, Any] | None = None) -> bytes:
    """Return a body with ``records``; a marked surrogate becomes an escape that no parser may pair."""
    document = {"resourceLogs": [(group or {}) | {"scopeLogs": [{"logRecords": list(records)}]}]}
    return orjson.dumps(document).replace(b"SURROGATE", SURROGATE.encode())


def read(body: bytes) -> Parsed:
    """Parse a logs body."""
    return parse_whole(LOGS, body, Limits())


def one(record: dict[str, Any]) -> Any:
    """Return the log record that ``record`` becomes; it is not rejected."""
    parsed = read(logs(record))
    assert not parsed.rejections
    return parsed.message.resource_logs[0].scope_logs[0].log_records[0]


@pytest.mark.parametrize("value", [10**18, "1000000000000000000", 1e18])
def test_integers_as_numbers_and_strings(value: Any) -> None:
    """Also with an exponent, when integral."""
    assert one({"timeUnixNano": value}).time_unix_nano == 10**18


@pytest.mark.parametrize("text", ["+/8=", "-_8=", "-_8", "+/8"])
def test_base64_of_both_alphabets(text: str) -> None:
    """With and without padding."""
    assert one({"body": {"bytesValue": text}}).body.bytes_value == b"\xfb\xff"


def test_unknown_and_null_fields_are_ignored() -> None:
    """At any depth, of any type; snake_case is unknown."""
    record = one({"x": [{}], "body": {"stringValue": "b", "y": {"z": 1}}, "severity_text": "WARN", "attributes": None})

    assert (record.body.string_value, record.severity_text, len(record.attributes)) == ("b", "", 0)
    assert not read(b'{"resource_logs":[{}]}').message.resource_logs


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"traceId": "abc"}, "traceId"),
        ({"traceId": "W47/95gDgQPSabYzgT/GDA=="}, "traceId"),
        ({"timeUnixNano": True}, "timeUnixNano"),
        ({"timeUnixNano": 1.5}, "timeUnixNano"),
        ({"timeUnixNano": "١٢"}, "timeUnixNano"),  # digits, but not ASCII
        ({"timeUnixNano": -1}, "logRecords[1]"),
        ({"severityNumber": "SEVERITY_NUMBER_INFO"}, "severityNumber"),
        ({"body": {"bytesValue": "*"}}, "body.bytesValue"),
        ({"body": {"stringValue": "SURROGATE"}}, "logRecords[1]"),
        ({"body": {"stringValue": "a", "intValue": 1}}, "body"),
        ({"attributes": [{"key": "a"}, {"key": 1}]}, "attributes[1].key"),
        ({"attributes": {}}, "attributes"),
        (7, "logRecords[1]"),
    ],
)
def test_a_wrong_value_costs_its_record(record: Any, path: str) -> None:
    """The reason names the path; the records around it stay."""
    parsed = read(logs({}, record, {}))

    assert parsed.indexes == [0, 2]
    (rejection,) = parsed.rejections
    assert rejection.index == 1
    assert path in rejection.reason


def test_a_number_too_large_for_a_double_costs_its_record() -> None:
    """In a body that needs the slow reader, where integers have no bound."""
    body = logs({"body": {"doubleValue": "HUGE"}}, {}, {"body": {"stringValue": "SURROGATE"}})

    parsed = read(body.replace(b'"HUGE"', b"9" * 400))

    assert parsed.indexes == [1]


@pytest.mark.parametrize(
    "group",
    [
        {"schemaUrl": "SURROGATE"},
        {"resource": {"attributes": [{"key": "SURROGATE"}]}},
        {"resource": {"droppedAttributesCount": -1}},
        {"resource": {"droppedAttributesCount": 2**40}},
        {"resource": []},
    ],
)
def test_a_wrong_resource_costs_its_records(group: dict[str, Any]) -> None:
    """Never the request: another group is stored."""
    good = orjson.loads(logs({}))["resourceLogs"][0]
    body = logs({}, {}, group=group)
    body = body[:-2] + b"," + orjson.dumps(good) + b"]}"

    parsed = read(body)

    assert parsed.indexes == [2]
    assert [(r.index, r.count) for r in parsed.rejections] == [(0, 2)]


@pytest.mark.parametrize(
    ("holder", "rejected"),
    [
        ({"aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA", "dataPoints": [{}, {}]}, [(0, 2)]),
        ({"aggregationTemporality": 2**40, "dataPoints": [{}, {}]}, [(0, 2)]),
        ({"dataPoints": [{"asInt": "x"}, {}]}, [(0, 1)]),
    ],
)
def test_wrong_points_and_sums_cost_themselves(holder: dict[str, Any], rejected: list[tuple[int, int]]) -> None:
    """A point by itself; what is wrong in the sum, its points; never the metric after it."""
    metrics = [{"name": "m", "sum": holder}, {"name": "good", "gauge": {"dataPoints": [{}]}}]
    body = orjson.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})

    parsed = parse(METRICS, body, Encoding.JSON, Limits())

    assert [(r.index, r.count) for r in parsed.rejections] == rejected
    assert parsed.indexes is not None
    assert parsed.indexes[-1] == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xef\xbb\xbf{}", b"{}\n{}", b'{"resourceLogs":7}'])
def test_what_is_no_request(body: bytes) -> None:
    """A byte order mark, lines of JSON, nothing at all."""
    with pytest.raises(MalformedRequest):
        read(body)


def test_prune_keeps_what_is_not_too_deep() -> None:
    """Brackets in strings do not count; what lies too deep becomes null."""
    deep = b"[" * (DEPTH_MAX + 50) + b"]" * (DEPTH_MAX + 50)

    assert prune(b'{"a":"[[{\\"[","b":[1]}') == b'{"a":"[[{\\"[","b":[1]}'
    assert prune(deep) == b"[" * DEPTH_MAX + b"null" + b"]" * DEPTH_MAX


@pytest.mark.parametrize("tail", [b"", b'"', b"\\"])
@pytest.mark.parametrize("unit", [b'\\"', b"a", b'a\\"'])
def test_prune_is_linear(unit: bytes, tail: bytes) -> None:
    """Strings of 2 MB, closed or not: a step back for each quote would take hours."""
    body = b'["' + unit * (2_000_000 // len(unit)) + tail
    start = time.process_time()

    assert prune(body) == body
    assert time.process_time() - start < 2
