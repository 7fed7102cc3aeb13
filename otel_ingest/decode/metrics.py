"""PURE: ExportMetricsServiceRequest -> MetricPointRow, one a data point."""

from collections.abc import Iterator
from typing import Any

from otel_ingest.decode.attributes import Lossy, has_unknown
from otel_ingest.decode.context import Context, Named, int32, int64, plain, span_id_of, trace_id_of
from storage.rows import MetricPointRow

_TYPES = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}
# What of a point goes to ``data``; attributes, times, flags and exemplars have columns.


class _Head:
    """What stands in a metric once and in every row of its points."""

    def __init__(self, metric: Any, kind: str) -> None:
        self.metric = metric
        self.kind = kind
        self.holder = getattr(metric, kind)
        texts = len(metric.name) + len(metric.unit) + len(metric.description)
        self.size_bytes = texts + sum(int(pair.ByteSize()) for pair in metric.metadata)
        self._alone: Any = None

    def exact(self, point: Any) -> bytes:
        """Return the metric's own bytes with this point alone."""
        if self._alone is None:
            self._alone = self._without_points()
        points = getattr(self._alone, self.kind).data_points
        points.append(point)
        data: bytes = self._alone.SerializeToString()
        del points[:]
        return data

    def has_unknown(self) -> bool:
        """Return whether the metric itself holds fields that our OTLP has no name for."""
        if self._alone is None:
            self._alone = self._without_points()
        return has_unknown(self._alone)

    def _without_points(self) -> Any:
        alone = type(self.metric)()
        alone.CopyFrom(self.metric)
        getattr(alone, self.kind).ClearField("data_points")
        return alone


def _records(envelope: Any) -> Iterator[tuple[_Head, Any]]:
    """Yield each data point with the head of its metric, in wire order."""
    for metric in envelope.metrics:
        kind = metric.WhichOneof("data")
        if kind is not None:
            head = _Head(metric, kind)
            for point in head.holder.data_points:
                yield head, point


def _row(record: tuple[_Head, Any], named: Named, context: Context) -> MetricPointRow:
    head, point = record
    metric, kind = head.metric, head.kind
    context.repeat(head.size_bytes)
    context.bound(point)
    lossy = context.values()
    attributes = lossy.attributes_json(point.attributes)
    value = point.WhichOneof("value") if kind in {"gauge", "sum"} else None
    data = None if kind in {"gauge", "sum"} else lossy.json(_data(kind, point, lossy))
    exemplars = lossy.json([_exemplar(e, lossy) for e in _exemplars(kind, point)]) if _exemplars(kind, point) else None
    metadata = lossy.attributes_json(metric.metadata) if metric.metadata else None
    name, unit, description = (
        lossy.text(metric.name),
        lossy.text(metric.unit),
        lossy.text(metric.description),
    )
    return MetricPointRow(
        context.time_us(point.time_unix_nano, point.start_time_unix_nano),
        int64(point.time_unix_nano),
        int64(point.start_time_unix_nano),
        named[0],
        named[1],
        _TYPES[kind],
        0 if kind in {"gauge", "summary"} else head.holder.aggregation_temporality,
        int32(point.flags),
        kind == "sum" and head.holder.is_monotonic,
        named[2],
        name,
        unit,
        description,
        attributes,
        point.as_int if value == "as_int" else None,
        point.as_double if value == "as_double" else None,
        data,
        exemplars,
        metadata,
        _exact(head, point, lossy),
    )


def _exact(head: _Head, point: Any, lossy: Lossy) -> bytes | None:
    if lossy.lossy or (lossy.may_be_unknown and (head.has_unknown() or has_unknown(point))):
        return head.exact(point)
    return None


def _data(kind: str, point: Any, lossy: Lossy) -> dict[str, Any]:
    """Return what a histogram, exponential histogram or summary point holds, by protobuf field names."""
    data: dict[str, Any] = {"count": point.count}
    if kind == "summary":
        data["sum"] = lossy.double(point.sum)
        data["quantile_values"] = [
            {"quantile": lossy.double(q.quantile), "value": lossy.double(q.value)} for q in point.quantile_values
        ]
        return data
    if kind == "histogram":
        data["bucket_counts"] = list(point.bucket_counts)
        data["explicit_bounds"] = [lossy.double(b) for b in point.explicit_bounds]
    else:
        data |= {"scale": point.scale, "zero_count": point.zero_count}
        for side in ("positive", "negative"):
            if point.HasField(side):
                buckets = getattr(point, side)
                data[side] = {
                    "offset": buckets.offset,
                    "bucket_counts": list(buckets.bucket_counts),
                }
        data["zero_threshold"] = lossy.double(point.zero_threshold)
    for name in ("sum", "min", "max"):
        if point.HasField(name):
            data[name] = lossy.double(getattr(point, name))
    return data


def _exemplars(kind: str, point: Any) -> Any:
    return () if kind == "summary" else point.exemplars


def _exemplar(exemplar: Any, lossy: Lossy) -> dict[str, Any]:
    trace_id_of(exemplar.trace_id)
    span_id_of(exemplar.span_id)
    value = exemplar.WhichOneof("value")
    result = {
        "time_unix_nano": exemplar.time_unix_nano,
        "trace_id": exemplar.trace_id.hex(),
        "span_id": exemplar.span_id.hex(),
        "filtered_attributes": lossy.mapping(exemplar.filtered_attributes, 1),
    }
    if value is not None:
        raw = getattr(exemplar, value)
        result[value] = lossy.double(raw) if value == "as_double" else raw
    return result


PLAIN = plain("resource_metrics", "scope_metrics", _records, _row)
