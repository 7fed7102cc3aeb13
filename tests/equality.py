"""When two OTLP requests say the same: the same records under the same resources and scopes, in any order.

The order of attributes is none of a record's meaning either: keys are sorted, values of one key keep theirs.
"""

from collections import Counter
from typing import Any

_LISTS = {
    "resource_logs": ("scope_logs", "log_records"),
    "resource_spans": ("scope_spans", "spans"),
    "resource_metrics": ("scope_metrics", "metrics"),
}


def records_of(request: Any) -> Counter[tuple[bytes, ...]]:
    """Return each record with all that stands around it, and how often it is there; metrics by their points."""
    ((groups, (scopes, records)),) = ((k, v) for k, v in _LISTS.items() if hasattr(request, k))
    found: Counter[tuple[bytes, ...]] = Counter()
    for group in getattr(request, groups):
        resource = _part(group, "resource")
        for envelope in getattr(group, scopes):
            around = (*resource, group.schema_url.encode(), *_part(envelope, "scope"), envelope.schema_url.encode())
            for record in getattr(envelope, records):
                for one in _points(record) if records == "metrics" else (record,):
                    found[(*around, _bytes(one))] += 1
    return found


def _part(holder: Any, name: str) -> tuple[bytes, bytes]:
    return str(holder.HasField(name)).encode(), _bytes(getattr(holder, name))


def _points(metric: Any) -> Any:
    """Yield a metric once for each of its points, with that point alone."""
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        alone = type(metric)()
        alone.CopyFrom(metric)
        del getattr(alone, kind).data_points[:]
        getattr(alone, kind).data_points.append(point)
        yield alone


def _bytes(message: Any) -> bytes:
    copy = type(message)()
    copy.CopyFrom(message)
    _sort(copy)
    return bytes(copy.SerializeToString(deterministic=True))


def _sort(message: Any) -> None:
    """Sort every list of key-value pairs by key, at any depth; equal keys keep their order."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in value if field.is_repeated else (value,):
            _sort(item)
        if field.is_repeated and field.message_type.name == "KeyValue":
            value.sort(key=lambda pair: pair.key)
