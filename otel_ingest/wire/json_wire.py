"""PURE: OTLP/JSON -> the same request as protobuf, in compiled code, for documents that are as every SDK writes them.

What is left (None) goes the plain way, ``json_mapping``, which names what is wrong and where. A property test compares
both.
"""

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from otel_ingest import native
from otel_ingest.limits import Limits
from otel_ingest.native import JsonField, JsonTables
from otel_ingest.signals import BY_NAME, Signal
from otel_ingest.wire.json_values import HEX_IDS

# Numbered as in json.c.
_TYPES = {
    kind: number
    for number, kind in enumerate(
        (
            FieldDescriptor.TYPE_STRING,
            FieldDescriptor.TYPE_BOOL,
            FieldDescriptor.TYPE_ENUM,
            FieldDescriptor.TYPE_UINT32,
            FieldDescriptor.TYPE_INT64,
            FieldDescriptor.TYPE_UINT64,
            FieldDescriptor.TYPE_FIXED32,
            FieldDescriptor.TYPE_FIXED64,
            FieldDescriptor.TYPE_SFIXED64,
            FieldDescriptor.TYPE_DOUBLE,
            FieldDescriptor.TYPE_MESSAGE,
        )
    )
}
_MESSAGE = _TYPES[FieldDescriptor.TYPE_MESSAGE]
# Bytes: ids are hexadecimal; base64, as all that is not told, goes the plain way.
_HEX, _OTHER = len(_TYPES), len(_TYPES) + 1
# Nesting that the compiled code follows: it recurses on the stack.
_VALUES_MAX = 16


def protobuf_of(signal: Signal, body: bytes, limits: Limits) -> bytes | None:
    """Return a JSON body as protobuf; None where only the plain way can read it."""
    if not native.available:
        return None
    return native.json_to_protobuf(body, _tables(signal.name), min(_VALUES_MAX, limits.value_depth_max))


@cache
def _tables(signal: str) -> JsonTables:
    """Return the tables of a signal's request, made from its descriptor."""
    waiting: list[Descriptor] = [BY_NAME[signal].request_type.DESCRIPTOR]
    messages = []
    for descriptor in waiting:  # grows on the way
        fields = [_field(field, waiting) for field in descriptor.fields]
        messages.append((fields, descriptor.name == "AnyValue"))
    return JsonTables(messages)


def _field(field: Any, waiting: list[Descriptor]) -> JsonField:
    kind = _TYPES.get(field.type, _OTHER)
    if field.type == FieldDescriptor.TYPE_BYTES and field.name in HEX_IDS:
        kind = _HEX
    if kind == _MESSAGE and field.message_type not in waiting:
        waiting.append(field.message_type)
    message = waiting.index(field.message_type) if kind == _MESSAGE else 0
    oneof = field.containing_oneof.index + 1 if field.containing_oneof else 0
    return JsonField(field.json_name, field.number, kind, field.is_repeated, message, oneof)
