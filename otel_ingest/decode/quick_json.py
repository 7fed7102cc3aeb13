"""PURE: the fast way from a record of OTLP/JSON to its row, without making it a message first.

``wire.json_mapping`` has checked types and ranges, a record is the keyword arguments of
its message. What is unusual becomes that message and goes the plain way. Both give the same row.
"""

import math
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_ingest.decode.attributes import DOUBLE_WITHOUT_POINT, JSON_BODY, NO_BODY, NUL_ESCAPE, STRING_BODY, Values
from otel_ingest.decode.context import Context, Named, Shape, one_by_one, resource_row, scope_row
from otel_ingest.limits import Limits
from otel_ingest.wire import shallow
from storage.rows import LogRow, ResourceRow, ScopeRow, SpanRow

_AS_THEY_ARE = frozenset({"string_value", "int_value", "bool_value"})
_PAIR_FIELDS = 2


def _reader(message_type: Any) -> Any:
    """Return a class that shows keyword arguments as the fields of a message; what is not given is its default."""
    defaults: dict[str, Any] = {}
    for field in message_type.DESCRIPTOR.fields:
        none = () if field.is_repeated else None
        defaults[field.name] = none if field.is_repeated or field.message_type else field.default_value
        if field.type == FieldDescriptor.TYPE_BYTES:
            defaults[field.name] = b""

    def __init__(self: Any, values: dict[str, Any]) -> None:  # noqa: N807 - of the class that is made here
        self.__dict__ = values

    return type(message_type.DESCRIPTOR.name, (), defaults | {"__init__": __init__})


class UnusualError(Exception):
    """Something that the plain way must look at."""


def _text(value: str) -> str:
    """Return text as it is."""
    if "\0" in value:
        raise UnusualError
    return value


def _json(value: Any) -> bytes:
    """Return a JSON-ready value as bytes that jsonb takes."""
    data = orjson.dumps(value)
    if NUL_ESCAPE in data:
        raise UnusualError
    return data


_READERS = {shallow.Event: _reader(trace_pb2.Span.Event), shallow.Link: _reader(trace_pb2.Span.Link)}
_status = _reader(trace_pb2.Status)


class QuickJson:
    """Reads the values of one record. Everything raises UnusualError where the plain way must decide."""

    __slots__ = ("_left",)

    def __init__(self, limits: Limits) -> None:
        self._left = limits.attributes_max

    text = staticmethod(_text)
    json = staticmethod(_json)

    def attributes_json(self, pairs: Any) -> bytes:
        """Return a JSON object of KeyValues."""
        return _json(self.mapping(pairs, 1)) if pairs else b"{}"

    def mapping(self, pairs: Any, _: int) -> dict[str, Any]:
        """Return the dict of KeyValues."""
        self._left -= len(pairs)
        result = {}
        for pair in pairs:
            if len(pair) != _PAIR_FIELDS:
                raise UnusualError
            result[pair["key"]] = _scalar(pair["value"])
        if len(result) != len(pairs) or self._left < 0:
            raise UnusualError
        return result

    def body(self, record: Any) -> tuple[int, str | None]:
        """Return ``body_kind`` and ``body``."""
        value = record.body
        if value is None:
            return NO_BODY, None
        found = _scalar(value)
        if isinstance(found, str):
            return STRING_BODY, _text(found)
        return JSON_BODY, _json(found).decode()

    def messages(self, parts: Any, twin: Any) -> list[Any]:
        """Return events or links."""
        return [_READERS[twin](part) for part in parts]

    def status(self, span: Any) -> Any | None:
        """Return a span's status, None where there is none."""
        return None if span.status is None else _status(span.status)

    def exact(self, _: Any) -> None:
        """Return None: the row says all of the record."""
        return


def _scalar(value: dict[str, Any]) -> Any:
    """Return the JSON-ready form of an AnyValue that is text, a number or a truth value."""
    if len(value) != 1:
        raise UnusualError
    ((kind, item),) = value.items()
    if kind in _AS_THEY_ARE:
        return item
    if kind == "double_value" and abs(item) < DOUBLE_WITHOUT_POINT and (item or math.copysign(1, item) > 0):
        return item
    raise UnusualError


def of(shape: Shape, message_type: Any, row: Callable[[Any, Values, Named, Context], LogRow | SpanRow]) -> Shape:
    """Return the shape of a request whose records are keyword arguments of ``message_type``."""
    reader = _reader(message_type)

    def quick_row(values: dict[str, Any], named: Named, context: Context) -> LogRow | SpanRow:
        if not context.check_size:
            try:
                return row(reader(values), QuickJson(context.limits), named, context)
            except (UnusualError, ValueError, LookupError):
                pass
        message = message_type(**values)
        context.bound(message)
        return row(message, context.values(), named, context)

    return Shape(shape.groups, shape.scopes, shape.records, _resource, _scope, one_by_one(quick_row))


def _resource(group: Any, limits: Limits) -> ResourceRow:
    own = group.own
    return resource_row(own.resource, own.schema_url, limits, is_set=own.HasField("resource"))


def _scope(envelope: Any, limits: Limits) -> ScopeRow:
    own = envelope.own
    return scope_row(own.scope, own.schema_url, limits, is_set=own.HasField("scope"))
