"""Records are found again by their positions, as the rejections count them, in both encodings."""

import json

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from otel_ingest.decode import decode
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import LOGS, METRICS, Signal
from otel_ingest.wire import Encoding, parse
from otel_ingest.wire.originals import originals
from tests.factories import attributes, log_record, logs_request

NOW_NS = 1_764_000_000_000_000_000


def rejected_positions(signal: Signal, body: bytes, encoding: Encoding) -> dict[int, str]:
    """Return {position: reason} as a sender is told."""
    parsed = parse(signal, body, encoding, Limits())
    items = list(decode(signal, parsed, received_ns=NOW_NS, limits=Limits()))
    rejections = [*parsed.rejections, *(item for item in items if isinstance(item, Rejection))]
    return {r.index + n: r.reason for r in rejections for n in range(r.count)}


def named(name: str, **fields: object) -> LogRecord:
    """Return a record of a recognisable body."""
    return log_record(body={"string_value": name}, time_unix_nano=NOW_NS, **fields)


def test_bad_records_of_several_services() -> None:
    """A bad id in the second service; text that is not UTF-8 in the third: each is found, with its component."""
    request = logs_request([named("a"), named("b")], service="one")
    request.MergeFrom(logs_request([named("c"), named("bad id", trace_id=b"xyz"), named("d")], service="two"))
    request.MergeFrom(logs_request([named("bad text"), named("e")], service="three"))
    body = request.SerializeToString().replace(b"bad text", b"bad \xff\xfext")

    wanted = rejected_positions(LOGS, body, Encoding.PROTOBUF)
    found = originals(LOGS, body, set(wanted), json=False)

    assert set(wanted) == set(found) == {3, 5}
    assert LogRecord.FromString(found[3].data).body.string_value == "bad id"
    assert b"bad \xff\xfext" in found[5].data
    assert [found[n].component for n in (3, 5)] == ["two", "three"]


def test_data_points_are_found_by_their_metric() -> None:
    """Positions count data points; what is found is the metric that holds the point."""
    points = [{"time_unix_nano": NOW_NS, "as_int": n} for n in range(3)]
    late = [{"time_unix_nano": 2**63, "as_int": 0}]
    metrics = [
        Metric(name="first", gauge={"data_points": points}),
        Metric(name="empty"),
        Metric(name="late", sum={"data_points": points[:1] + late}),
    ]
    resource = {"attributes": attributes(service__name="shop", service__namespace="eu")}
    body = ExportMetricsServiceRequest(
        resource_metrics=[{"resource": resource, "scope_metrics": [{"metrics": metrics}]}]
    ).SerializeToString()

    wanted = rejected_positions(METRICS, body, Encoding.PROTOBUF)
    found = originals(METRICS, body, set(wanted), json=False)

    assert set(wanted) == set(found) == {4}
    assert Metric.FromString(found[4].data).name == "late"
    assert found[4].component == "eu/shop"


def test_json_records_are_found_as_json() -> None:
    """A wrong value in the second of three."""
    records = [{"body": {"stringValue": name}, "traceId": trace} for name, trace in (("a", ""), ("b", "xy"), ("c", ""))]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    document = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
    body = json.dumps(document).encode()

    wanted = rejected_positions(LOGS, body, Encoding.JSON)
    found = originals(LOGS, body, set(wanted), json=True)

    assert set(wanted) == set(found) == {1}
    assert json.loads(found[1].data)["body"]["stringValue"] == "b"
    assert found[1].component == "shop"


@pytest.mark.parametrize("body", [b"", b"\x0a\xff", b"{", b"[]", b'{"resourceLogs": 7}', b"\x0a\x02\x12\xff"])
@pytest.mark.parametrize("as_json", [False, True])
def test_what_cannot_be_read_is_not_an_error(body: bytes, as_json: bool) -> None:
    """Garbage in, what can be found out."""
    assert set(originals(LOGS, body, {0, 7}, json=as_json)) <= {0}
