"""OTLP requests from a seed: every field of every message, plain values and those at the edges; and damage to bytes.

Driven by OTLP's own descriptors, so that a new field of a newer OTLP is generated too. Much faster than strategies,
and a failing seed is one number.
"""

import base64
import json
import math
import random
import time
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from otel_ingest.signals import Signal

NOW = time.time_ns()
UNKNOWN_FIELD = b"\xa0\x06\x01"  # number 100, a varint
_KEYS = ("a", "b", "service.name", "http.request.method", "k" * 124, "k" * 126, "ü", "")
_TEXTS = ("", "x", "GET", "ünïcödé \U0001f600", "v" * 123, "v" * 130, "w" * 300, 'q"uote\\', "\\u0000", "line\nline")
_ODD_TEXTS = ("a\0b", "\0")
_INTS = (0, 1, 2, 127, 128, 300, 2**31 - 1)
_ODD_INTS = (-1, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 2**32 - 1)
_DOUBLES = (0.0, 1.0, 1.5, -1 / 3, 1e15, 5e-324)
_ODD_DOUBLES = (-0.0, 1e16, 1.7e308, math.nan, math.inf, -math.inf)
_KINDS = ("string_value", "string_value", "string_value", "int_value", "bool_value", "double_value")
_ODD_KINDS = (*_KINDS, "array_value", "kvlist_value", "bytes_value", "string_value_strindex", "")
_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_ODD_JSON = (
    None,
    True,
    0,
    -1,
    2**64,
    -(2**63) - 1,
    1.5,
    1e18,
    "",
    "x",
    "1",
    "NaN",
    "_-8=",
    "AB" * 16,
    "\0",
    [],
    {},
    [[]],
)
_NAMES = ("stringValue", "intValue", "kvlistValue", "values", "traceId", "trace_id", "body", "attributes", "asInt", "x")
_ODD_SHARE = 0.3
_DEPTH_MAX, _RECORD_DEPTH = 5, 3


class Generator:
    """Makes messages from one seed; ``odd`` is set anew for each record, so that most are whole."""

    def __init__(self, seed: int, many: int = 3) -> None:
        self.random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._many = many
        self._odd = False

    def request(self, signal: Signal) -> Any:
        """Return a request of a few envelopes and records."""
        return self.message(signal.request_type.DESCRIPTOR, 0)

    def message(self, descriptor: Descriptor, depth: int) -> Any:
        """Return a message of any type; deeper than a few values it is empty."""
        chance = self.random.random
        if descriptor.name in {"ResourceLogs", "LogRecord", "ResourceSpans", "Span", "ResourceMetrics", "Metric"}:
            self._odd = chance() < _ODD_SHARE
        message: Any = descriptor._concrete_class()
        fields = list(descriptor.fields)
        if descriptor.name == "AnyValue":
            kind = self.random.choice(_ODD_KINDS if self._odd else _KINDS)
            fields = [f for f in fields if f.name == kind]
        elif descriptor.oneofs:
            last = {o.name: self.random.choice(o.fields).name for o in descriptor.oneofs}
            fields = [f for f in fields if f.containing_oneof is None or last[f.containing_oneof.name] == f.name]
        for field in fields:
            if field.is_repeated:
                self._repeated(message, field, depth)
            elif field.message_type:
                if depth < _DEPTH_MAX + 4 and chance() < 0.9:
                    getattr(message, field.name).CopyFrom(self.message(field.message_type, depth + 1))
            elif descriptor.name == "AnyValue" or chance() < 0.8:
                setattr(message, field.name, self._scalar(field))
        if self._odd and chance() < 0.02:
            message.MergeFromString(UNKNOWN_FIELD)
        return message

    def _repeated(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        values = getattr(message, field.name)
        most = 1 if depth > _DEPTH_MAX else self._many
        # Down to the records there is one, almost always.
        least = int(depth < _RECORD_DEPTH and self.random.random() < 0.9)
        for _ in range(self.random.randint(least, most)):
            if field.message_type is None:
                values.append(self._scalar(field))
            elif depth < _DEPTH_MAX + 4:
                values.append(self.message(field.message_type, depth + 1))

    def _scalar(self, field: FieldDescriptor) -> Any:  # noqa: PLR0911 - one line a type
        choice, odd = self.random.choice, self._odd
        if field.name in _ID_BYTES:
            size = _ID_BYTES[field.name]
            return self.random.randbytes(choice((size, size, size, 0, 3)) if odd else choice((0, size)))
        if field.name.endswith("time_unix_nano"):
            return choice((0, 1, NOW, 2**64 - 1)) if odd else NOW + self.random.randint(-(10**15), 10**15)
        if field.name == "key_strindex":
            return choice((0, 0, 0, 1)) if odd else 0
        if field.type == FieldDescriptor.TYPE_STRING:
            texts = _KEYS if field.name == "key" else _TEXTS
            return choice(texts + _ODD_TEXTS if odd else texts)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return choice((b"", b"\0\xff", b"bytes"))
        if field.type == FieldDescriptor.TYPE_BOOL:
            return choice((True, False))
        if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
            return choice(_DOUBLES + _ODD_DOUBLES if odd else _DOUBLES)
        low, high = _RANGES[field.cpp_type]
        return max(low, min(high, choice(_INTS + _ODD_INTS if odd else _INTS)))

    def damaged(self, body: bytes) -> bytes:
        """Return ``body`` with a few bytes changed; sometimes some cut out, put in or doubled, or its end cut off."""
        rng = self.random
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            at, length = rng.randint(0, len(body)), rng.choice((0, 1, 1, 2, 20))
            put = rng.choice(
                (b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\n", b"\x12", b'"', b"{", b"]", rng.randbytes(1))
            )
            if rng.random() < 0.4:
                put = rng.choice((b"", put * 2, body[at : at + length] * 2))
            else:
                length = 1
            body = body[:at] + put + body[at + length :]
        return body[: rng.randint(0, len(body))] if rng.random() < 0.05 else body

    def damaged_json(self, document: Any) -> Any:
        """Return a JSON document with one value somewhere in it replaced, taken away or moved to another name."""
        rng, place = self.random, document
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = rng.choice(keys)
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.1:
                if isinstance(place, dict) and rng.random() < 0.3:
                    place[rng.choice(_NAMES)] = place.pop(key)
                else:
                    place[key] = rng.choice(_ODD_JSON)
                break
            place = place[key]
        return document


def as_json(message: Any) -> Any:
    """Return a message as OTLP/JSON writes it: lowerCamelCase, ids in hex, 64-bit integers as strings."""
    result = {}
    for field, value in message.ListFields():
        many = [_json_value(field, item) for item in value] if field.is_repeated else _json_value(field, value)
        result[field.json_name] = many
    return result


def _json_value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type:
        return as_json(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return value.hex() if field.name in _ID_BYTES else base64.b64encode(value).decode()
    if field.cpp_type in {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def json_body(message: Any) -> bytes:
    """Return the OTLP/JSON body of a request."""
    return json.dumps(as_json(message), ensure_ascii=False).encode()
