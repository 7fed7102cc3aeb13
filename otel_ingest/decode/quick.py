"""PURE: the fast way from a record's bytes to its row, for records that hold nothing unusual.

Attributes are taken apart on the wire level and remembered by their bytes: most of them have been seen before. Whatever
is not plain text, a number or a truth value that jsonb keeps as it is, whatever would be rejected, and whatever is not
encoded as every SDK encodes it, goes the plain way (``attributes``), which alone decides. Both give the same row.
"""

import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_ingest.decode.attributes import (
    DOUBLE_WITHOUT_POINT,
    JSON_BODY,
    NO_BODY,
    NUL_ESCAPE,
    STRING_BODY,
    Lossy,
    ValueRejectedError,
    Values,
    has_unknown,
)
from otel_ingest.decode.context import Context, Named, Shape, resource_row, scope_row
from otel_ingest.limits import Limits
from otel_ingest.wire import shallow
from storage.rows import LogRow, ResourceRow, ScopeRow, SpanRow

# Attributes remembered at most (some 3 MiB), and the longest that is: what is longer is seldom seen again.
_KNOWN_PAIRS_MAX, _KNOWN_PAIR_BYTES_MAX = 8192, 128
# A status is mostly its code alone; messages of errors are few.
_KNOWN_STATUSES_MAX = 256
# Resources and scopes remembered at most, and the longest that is.
_KNOWN_ENVELOPES_MAX, _KNOWN_ENVELOPE_BYTES_MAX = 512, 8192

_KEY, _VALUE = 0x0A, 0x12  # KeyValue: fields 1 and 2
_STRING, _BOOL, _INT, _DOUBLE = 0x0A, 0x10, 0x18, 0x21  # AnyValue: fields 1 to 4
_MORE = 0x80  # a byte of a varint with this bit is not its last
_double_at = struct.Struct("<d").unpack_from


class UnusualError(Exception):
    """Something that the plain way must look at."""


def pair(data: bytes) -> tuple[str, Any]:
    """Return key and value of a KeyValue.

    Raises UnusualError, or IndexError, UnicodeDecodeError or DecodeError: the plain way sees what it is.
    """
    # Key and value each behind one byte of length; written out, for it is most of what a record costs.
    end, size = data[1] + 2, len(data)
    if end >= _MORE or data[0] != _KEY or data[end] != _VALUE:
        raise UnusualError
    at = end + 2
    if data[end + 1] != size - at or size - at >= _MORE:
        return _long_pair(data)
    if at == size:
        return data[2:end].decode(), None
    kind = data[at]
    if kind == _STRING and data[at + 1] + at + 2 == size:
        return data[2:end].decode(), data[at + 2 :].decode()
    if kind == _INT:
        return data[2:end].decode(), _int64(data[at + 1 :])
    if kind == _DOUBLE and at + 9 == size:
        value: float = _double_at(data, at + 1)[0]
        if abs(value) < DOUBLE_WITHOUT_POINT and (value or math.copysign(1, value) > 0):
            return data[2:end].decode(), value
    elif kind == _BOOL and at + 2 == size and data[at + 1] <= 1:
        return data[2:end].decode(), data[at + 1] == 1
    raise UnusualError


def _long_pair(data: bytes) -> tuple[str, str]:
    """Return key and text of a KeyValue longer than 127 bytes."""
    message = KeyValue.FromString(data)
    value: Any = message.value
    found: str = value.string_value
    if not found or message.key_strindex or _is_newer(message) or _is_newer(value):
        raise UnusualError
    return message.key, found


def _is_newer(message: Any) -> bool:
    """Return whether a message itself has fields we have no name for, or in a wrong form."""
    return len(UnknownFieldSet(message)) > 0


def _int64(digits: bytes) -> int:
    """Return the varint that ``digits`` are, as two's complement of 64 bits."""
    value = shift = 0
    for digit in digits:
        value |= (digit & 0x7F) << shift
        if digit < _MORE:
            break
        shift += 7
    if shift != 7 * (len(digits) - 1) or value >= 1 << 64:
        raise UnusualError
    return value if value < 1 << 63 else value - (1 << 64)


class _Pairs(dict[bytes, tuple[str, Any]]):
    """KeyValue bytes -> key and value, worked out when first seen; emptied when full. Threads may share it."""

    def __missing__(self, data: bytes) -> tuple[str, Any]:
        found = pair(data)
        if len(data) <= _KNOWN_PAIR_BYTES_MAX:
            if len(self) >= _KNOWN_PAIRS_MAX:
                self.clear()
            self[data] = found
        return found


_known_pair = _Pairs().__getitem__


def text(value: str) -> str:
    """Return text as it is."""
    if "\0" in value:
        raise UnusualError
    return value


def json(value: Any) -> bytes:
    """Return a JSON-ready value as bytes that jsonb takes."""
    data = orjson.dumps(value)
    if NUL_ESCAPE in data:
        raise UnusualError
    return data


class Quick:
    """Reads the values of shallow records. Everything raises UnusualError where the plain way must decide."""

    __slots__ = ("_limits",)

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def attributes_json(self, pairs: Any) -> bytes:
        """Return a JSON object of KeyValues' bytes."""
        if not pairs:
            return b"{}"
        result = dict(map(_known_pair, pairs))
        data = orjson.dumps(result)
        if len(result) != len(pairs) or NUL_ESCAPE in data:
            raise UnusualError
        return data

    def mapping(self, pairs: Any, _: int) -> dict[str, Any]:
        """Return the dict of KeyValues' bytes."""
        result = dict(map(_known_pair, pairs))
        if len(result) != len(pairs):
            raise UnusualError
        return result

    text = staticmethod(text)
    json = staticmethod(json)

    def body(self, record: Any) -> tuple[int, str | None]:
        """Return ``body_kind`` and ``body``."""
        parts = record.body
        if not parts:
            return NO_BODY, None
        if len(parts) > 1:
            raise UnusualError
        data = parts[0]
        if data[:1] == b"\n" and 1 < len(data) == data[1] + 2 < _MORE:
            return STRING_BODY, self.text(data[2:].decode())
        return self._any_body(data)

    def _any_body(self, data: bytes) -> tuple[int, str | None]:
        """Return the same of a body that is long or no string."""
        message: Any = AnyValue.FromString(data)
        kind = message.WhichOneof("value")
        if kind == "string_value":
            if _is_newer(message):
                raise UnusualError
            return STRING_BODY, self.text(message.string_value)
        lossy = Lossy(self._limits)
        data = lossy.json(lossy.value(message, kind, 1))
        if lossy.lossy or has_unknown(message):
            raise UnusualError
        return JSON_BODY, data.decode()

    def messages(self, parts: Any, twin: Any) -> list[Any]:
        """Return events or links, parsed to their shallow ``twin``."""
        return [_known_fields(twin.FromString(data)) for data in parts]

    def status(self, span: Any) -> Any | None:
        """Return a span's status; one seen before is not parsed again, and never changed."""
        parts = span.status
        if not parts:
            return None
        return _known_status(parts[0] if len(parts) == 1 else b"".join(parts))

    def exact(self, _: Any) -> None:
        """Return None: the row says all of the record."""
        return


def _known_fields(message: Any) -> Any:
    """Return a message. Raises UnusualError when it has fields we have no name for."""
    if _is_newer(message):
        raise UnusualError
    return message


@lru_cache(_KNOWN_STATUSES_MAX)
def _known_status(data: bytes) -> Any:
    return _known_fields(shallow.Status.FromString(data))


def of(
    shape: Shape,
    twin: Any,
    message_type: Any,
    row: Callable[[Any, Values, Named, Context], LogRow | SpanRow],
) -> Shape:
    """Return the shape of a shallow request; ``twin`` is the shallow type of a record."""

    def quick_row(data: bytes, named: Named, context: Context) -> LogRow | SpanRow:
        if len(data) <= context.quick_bytes_max:
            try:
                record = twin.FromString(data)
                if not len(UnknownFieldSet(record)):
                    return row(record, context.quick, named, context)
            except (UnusualError, ValueError, IndexError, DecodeError):
                pass
        message = _message(message_type, data)
        context.bound(message)
        return row(message, context.values(), named, context)

    return Shape(shape.groups, shape.scopes, shape.records, _resource, _scope, quick_row)


def _message(message_type: Any, data: bytes) -> Any:
    try:
        return message_type.FromString(data)
    except DecodeError as error:
        raise ValueRejectedError("it cannot be parsed (invalid UTF-8, or nested too deeply)") from error


def _resource(group: Any, limits: Limits) -> ResourceRow:
    parts = group.resource
    data = b"".join(parts)
    short = len(data) + len(group.schema_url) <= _KNOWN_ENVELOPE_BYTES_MAX
    make = _known_resource if short else _known_resource.__wrapped__
    return make(data, group.schema_url, limits, bool(parts))


@lru_cache(_KNOWN_ENVELOPES_MAX)
def _known_resource(data: bytes, schema_url: str, limits: Limits, is_set: bool) -> ResourceRow:  # noqa: FBT001
    return resource_row(_message(Resource, data), schema_url, limits, is_set=is_set)


def _scope(envelope: Any, limits: Limits) -> ScopeRow:
    parts = envelope.scope
    data = b"".join(parts)
    short = len(data) + len(envelope.schema_url) <= _KNOWN_ENVELOPE_BYTES_MAX
    make = _known_scope if short else _known_scope.__wrapped__
    return make(data, envelope.schema_url, limits, bool(parts))


@lru_cache(_KNOWN_ENVELOPES_MAX)
def _known_scope(data: bytes, schema_url: str, limits: Limits, is_set: bool) -> ScopeRow:  # noqa: FBT001
    return scope_row(_message(InstrumentationScope, data), schema_url, limits, is_set=is_set)
