"""Limits of decoding: a small request never becomes many times its size in rows."""

import time
from dataclasses import replace

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from otel_ingest.decode import decode
from otel_ingest.decode.context import COMPONENT_CHARS_MAX, Item
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import LOGS, METRICS
from otel_ingest.wire import Parsed
from storage.rows import LogRow, MetricPointRow, ResourceRow
from tests.factories import attributes, log_record, logs_request
from tests.generate import UNKNOWN_FIELD

NOW = time.time_ns()
LIMITS = Limits()


def log_items(parsed: Parsed, limits: Limits = LIMITS) -> list[Item]:
    """Return what a logs request decodes to."""
    return list(decode(LOGS, parsed, received_ns=NOW, limits=limits))


def test_a_long_service_name_is_cut_in_rows_and_kept_in_the_resource() -> None:
    """The component stands in every row and in an index; the attribute is whole."""
    name = "n" * 4_000_000

    resource, _, *rows = log_items(Parsed(logs_request([log_record()] * 3, service=name)))

    assert isinstance(resource, ResourceRow)
    assert name.encode() in resource.attributes
    assert [row.component for row in rows if isinstance(row, LogRow)] == ["n" * COMPONENT_CHARS_MAX] * 3


def test_a_resource_larger_than_a_row_may_be_costs_its_records() -> None:
    """The limit of a record holds for what is interned, too."""
    limits = replace(LIMITS, record_bytes_max=1000)
    message = logs_request([log_record(), log_record()], service="n" * 2000)

    items = log_items(Parsed(message, size_bytes=message.ByteSize()), limits)

    assert [(i.index, "larger" in i.reason) for i in items if isinstance(i, Rejection)] == [(0, True), (1, True)]
    assert len(items) == 2


@pytest.mark.parametrize("head", [{"description": "d" * 1000}, {"metadata": attributes(a="d" * 1000)}])
def test_what_points_repeat_is_bounded(head: dict[str, object]) -> None:
    """A long description is stored once a point: past the limit of a body the points are rejected."""
    metric = {"name": "m", "gauge": {"data_points": [{"as_int": 1}] * 50}} | head
    request = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [metric]}]}])
    limits = replace(LIMITS, body_bytes_max=10_500)

    items = list(decode(METRICS, Parsed(request), received_ns=NOW, limits=limits))

    assert sum(isinstance(i, MetricPointRow) for i in items) == 10
    assert [i.index for i in items if isinstance(i, Rejection)] == list(range(10, 50))


@pytest.mark.parametrize("key", ["", "k"])
def test_an_index_of_a_key_is_kept(key: str) -> None:
    """``key_strindex`` has no place in JSON, whether the key is empty or not."""
    record = log_record(attributes=[KeyValue(key=key, key_strindex=3, value={"string_value": "v"})])

    row = log_items(Parsed(logs_request([record])))[-1]

    assert isinstance(row, LogRow)
    assert row.exact == record.SerializeToString()


@pytest.mark.parametrize("where", ["metric", "point"])
def test_what_is_newer_in_a_metric_is_kept(where: str) -> None:
    """Fields of a newer OTLP, in the metric or in its point: the row keeps the metric's bytes with its point alone."""
    metric = Metric(name="m", gauge={"data_points": [{"as_int": 1}, {"as_int": 2}]})
    target = metric if where == "metric" else metric.gauge.data_points[0]
    target.MergeFromString(UNKNOWN_FIELD)
    request = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [metric]}]}])

    rows = [
        i for i in decode(METRICS, Parsed(request), received_ns=NOW, limits=LIMITS) if isinstance(i, MetricPointRow)
    ]

    del metric.gauge.data_points[1]
    assert rows[0].exact == metric.SerializeToString()
    assert (rows[1].exact is None) == (where == "point")
