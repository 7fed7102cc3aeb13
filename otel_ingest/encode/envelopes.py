"""PURE: what the three encoders share: resource and scope envelopes, ids, unsigned numbers, attributes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from storage.pages import ExportPage
from storage.rows import ResourceRow, ScopeRow

# Before an envelope whose schema URL fits no column (decode/context.py); its fields are those of all three signals.
_WHOLE = b"\0"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a signal's request is built: the names of its two lists of envelopes, and what puts a row into one."""

    groups: str
    scopes: str
    add: Callable[[Any, Any], None]


def envelope(page: ExportPage, request_type: Any, shape: Shape) -> Any:
    """Return the request of a page: one group a resource, one scope envelope a scope in it, rows in their order."""
    request = request_type()
    groups: dict[bytes, Any] = {}
    scopes: dict[tuple[bytes, bytes], Any] = {}
    for row in page.rows:
        place = row.resource_id, row.scope_id
        if place not in scopes:
            if row.resource_id not in groups:
                groups[row.resource_id] = _group(request, shape, page.resources[row.resource_id])
            scopes[place] = _scope(groups[row.resource_id], shape, page.scopes[row.scope_id])
        shape.add(scopes[place], row)
    return request


def _group(request: Any, shape: Shape, row: ResourceRow) -> Any:
    group = getattr(request, shape.groups).add(schema_url=row.schema_url)
    if row.exact is None:
        count = uint32(row.dropped_attributes_count)
        resource = Resource(attributes=pairs(row.attributes), dropped_attributes_count=count)
        group.resource.CopyFrom(resource)
    elif row.exact.startswith(_WHOLE):
        group.ParseFromString(row.exact[len(_WHOLE) :])
    elif row.exact:  # empty: none was sent
        group.resource.ParseFromString(row.exact)
    return group


def _scope(group: Any, shape: Shape, row: ScopeRow) -> Any:
    into = getattr(group, shape.scopes).add(schema_url=row.schema_url)
    if row.exact is None:
        count = uint32(row.dropped_attributes_count)
        into.scope.CopyFrom(
            InstrumentationScope(
                name=row.name,
                version=row.version,
                attributes=pairs(row.attributes),
                dropped_attributes_count=count,
            )
        )
    elif row.exact.startswith(_WHOLE):
        into.ParseFromString(row.exact[len(_WHOLE) :])
    elif row.exact:
        into.scope.ParseFromString(row.exact)
    return into


def pairs(attributes: bytes | None) -> list[KeyValue]:
    """Return the attributes that a stored JSON object stands for."""
    return key_values(orjson.loads(attributes)) if attributes else []


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    """Return the attributes of a parsed JSON object."""
    return [KeyValue(key=key, value=value_of(item)) for key, item in attributes.items()]


def value_of(item: Any) -> AnyValue:  # noqa: PLR0911 - one line a type
    """Return the value that a Python value, or parsed JSON, stands for.

    In JSON an int has no decimal point, a double always has one.
    """
    if isinstance(item, str):
        return AnyValue(string_value=item)
    if isinstance(item, bool):
        return AnyValue(bool_value=item)
    if isinstance(item, int):
        return AnyValue(int_value=item)
    if isinstance(item, float):
        return AnyValue(double_value=item)
    if item is None:
        return AnyValue()
    if isinstance(item, bytes):
        return AnyValue(bytes_value=item)
    if isinstance(item, list):
        return AnyValue(array_value=ArrayValue(values=[value_of(v) for v in item]))
    return AnyValue(kvlist_value=KeyValueList(values=key_values(item)))


def span_id(value: int | None) -> bytes:
    """Return the 8 bytes of a span id; empty where none was sent."""
    return b"" if value is None else value.to_bytes(8, "big", signed=True)


def uint32(value: int) -> int:
    """Return a uint32 of its two's complement."""
    return value & 0xFFFFFFFF


def uint64(value: int) -> int:
    """Return a uint64 of its two's complement."""
    return value & 0xFFFFFFFFFFFFFFFF
