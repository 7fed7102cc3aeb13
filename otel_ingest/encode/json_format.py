"""PURE: messages -> OTLP/JSON (OTLP specification, "JSON Protobuf Encoding"); the inverse of ``wire.json_mapping``.

Driven by the message descriptors: ids in hex, int64 as decimal strings, enums as numbers, lowerCamelCase, NaN and
infinities as strings, other bytes in base64.
"""

import base64
import math
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor

_HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_LONG = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
        FieldDescriptor.TYPE_SINT64,
    }
)
_converters: dict[str, Callable[[Any], Any]] = {}


def to_json(message: Any) -> bytes:
    """Return a message as one line of OTLP/JSON."""
    return orjson.dumps(to_value(message))


def to_value(message: Any) -> dict[str, Any]:
    """Return a message as the JSON object that ``to_json`` writes."""
    return _message(message)


def _message(message: Any) -> dict[str, Any]:
    return {field.json_name: _field(field, value) for field, value in message.ListFields()}


def _field(field: FieldDescriptor, value: Any) -> Any:
    convert = _converters.get(field.full_name)
    if convert is None:
        convert = _converters[field.full_name] = _converter(field)
    return [convert(item) for item in value] if field.is_repeated else convert(value)


def _converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _message
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.hex if field.name in _HEX_FIELDS else lambda value: base64.b64encode(value).decode()
    if field.type in _LONG:
        return str
    if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
        return _double
    return lambda value: value


def _double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
