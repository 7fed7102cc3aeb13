"""PURE: MetricPointRow -> a data point of its Metric; points of one metric that follow each other share it."""

from typing import Any

import orjson
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from otel_ingest.encode.envelopes import Shape, key_values, pairs, uint32, uint64
from storage.rows import MetricPointRow

_KINDS = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponential_histogram", 11: "summary"}
_NUMBERS = {"gauge", "sum"}
_WITHOUT_TEMPORALITY = {"gauge", "summary"}


def _add(into: Any, row: MetricPointRow) -> None:
    if row.exact is not None:
        into.metrics.add().ParseFromString(row.exact)
        return
    kind = _KINDS[row.type]
    head = _head(row, kind)
    metric = into.metrics[-1] if into.metrics else None
    if metric is None or not _continues(metric, head, kind):
        metric = into.metrics.add()
        metric.CopyFrom(head)
    _point(getattr(metric, kind).data_points.add(), row, kind)


def _head(row: MetricPointRow, kind: str) -> Metric:
    """Return the metric of a point without the point."""
    head = Metric(name=row.name, unit=row.unit, description=row.description, metadata=pairs(row.metadata))
    holder = getattr(head, kind)
    holder.SetInParent()
    if kind not in _WITHOUT_TEMPORALITY:
        holder.aggregation_temporality = row.aggregation_temporality
    if kind == "sum":
        holder.is_monotonic = row.is_monotonic
    return head


def _continues(metric: Metric, head: Metric, kind: str) -> bool:
    """Whether the points of ``metric`` are of the metric that ``head`` begins."""
    if metric.name != head.name or metric.WhichOneof("data") != kind:
        return False
    first, second = getattr(metric, kind), getattr(head, kind)
    same_kind = all(
        getattr(first, name) == getattr(second, name)
        for name in ("aggregation_temporality", "is_monotonic")
        if name in type(first).DESCRIPTOR.fields_by_name
    )
    return (
        same_kind
        and metric.unit == head.unit
        and metric.description == head.description
        and list(metric.metadata) == list(head.metadata)
    )


def _point(point: Any, row: MetricPointRow, kind: str) -> None:
    point.time_unix_nano = uint64(row.time_unix_nano)
    point.start_time_unix_nano = uint64(row.start_time_unix_nano)
    point.flags = uint32(row.flags)
    point.attributes.extend(pairs(row.attributes))
    if kind in _NUMBERS:
        if row.value_int is not None:
            point.as_int = row.value_int
        if row.value_double is not None:
            point.as_double = row.value_double
    else:
        # The rest of a point is stored by protobuf's own field names.
        point.MergeFrom(type(point)(**orjson.loads(row.data or b"{}")))
    for exemplar in orjson.loads(row.exemplars or b"[]"):
        ids = {name: bytes.fromhex(exemplar[name]) for name in ("trace_id", "span_id")}
        point.exemplars.add(**exemplar | ids | {"filtered_attributes": key_values(exemplar["filtered_attributes"])})


SHAPE = Shape("resource_metrics", "scope_metrics", _add)
