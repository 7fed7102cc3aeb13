"""PURE: finds records of a request again by their positions, as they were sent: for those that are not stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_ingest.errors import MalformedRequest
from otel_ingest.signals import METRICS, Signal
from otel_ingest.wire import json_mapping
from otel_ingest.wire.protobuf import count_points, fields

_LENGTH = 2
# Envelopes of all three signals: field 1 is the resource or scope, field 2 the repeated part.
_PAYLOAD, _CHILDREN = 1, 2


@dataclass(frozen=True, slots=True)
class Original:
    """A record's own bytes in the encoding of its request (of a data point: its metric), and its component."""

    data: bytes
    component: str


def originals(signal: Signal, body: bytes, wanted: set[int], *, json: bool) -> dict[int, Original]:
    """Return {position: record} of the records at the positions that are wanted, those that can be found."""
    found: dict[int, Original] = {}
    if not wanted:
        return found
    position = 0
    try:
        for count, component, data in _in_json(signal, body) if json else _in_protobuf(signal, body):
            for at in wanted.intersection(range(position, position + count)):
                found[at] = Original(data, component)
            position += count
    except MalformedRequest:
        pass  # what was found before is all there is
    return found


def _in_protobuf(signal: Signal, body: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yield how many records they are, their component, and their bytes; in wire order, as they are counted."""
    for group in _payloads(body, _PAYLOAD):
        try:
            scopes, resources = list(_payloads(group, _CHILDREN)), list(_payloads(group, _PAYLOAD))
        except MalformedRequest:
            yield 1, "", group
            continue
        component = _component(resources)
        for scope in scopes:
            try:
                records = list(_payloads(scope, _CHILDREN))
            except MalformedRequest:
                yield 1, component, scope
                continue
            for record in records:
                yield (_points(record) if signal is METRICS else 1), component, record


def _payloads(data: bytes, wanted: int) -> Iterator[bytes]:
    for number, kind, at, end in fields(data):
        if number == wanted and kind == _LENGTH:
            yield data[at:end]


def _points(metric: bytes) -> int:
    """Return how many data points a metric counts for; one that cannot be read counts once."""
    count = count_points(metric)
    if count:
        return count
    try:
        Metric.FromString(metric)
    except DecodeError:
        return 1
    return 0


def _component(resources: list[bytes]) -> str:
    resource = Resource()
    try:
        for data in resources:
            resource.MergeFromString(data)
    except DecodeError:
        return ""
    return _named({pair.key: pair.value.string_value for pair in resource.attributes})


def _named(attributes: dict[str, str]) -> str:
    name, namespace = attributes.get("service.name", ""), attributes.get("service.namespace", "")
    return f"{namespace}/{name}" if name and namespace else name


def _in_json(signal: Signal, body: bytes) -> Iterator[tuple[int, str, bytes]]:
    groups, scopes, records = signal.json_lists
    document = json_mapping.load(body)
    for group in _list(document, groups):
        component = _json_component(group)
        for scope in _list(group, scopes):
            for record in _list(scope, records):
                count = 1 if signal is not METRICS else json_mapping.count_points(record)
                yield count, component, _dumped(record)


def _list(holder: Any, key: str) -> list[Any]:
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, list) else []


def _json_component(group: Any) -> str:
    resource = group.get("resource") if isinstance(group, dict) else None
    pairs = [pair for pair in _list(resource, "attributes") if isinstance(pair, dict)]
    values = {str(p.get("key")): p["value"].get("stringValue") for p in pairs if isinstance(p.get("value"), dict)}
    return _named({key: value for key, value in values.items() if isinstance(value, str)})


def _dumped(record: Any) -> bytes:
    try:
        return orjson.dumps(record)
    except (TypeError, ValueError):
        return repr(record).encode("utf-8", "backslashreplace")
