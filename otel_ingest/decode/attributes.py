"""PURE: AnyValue and KeyValue -> JSON that jsonb keeps; says when it cannot keep all of it.

An int has no decimal point, a double always has one: jsonb keeps that difference. What it cannot keep (NaN, bytes,
NUL, duplicate keys, …) is shown as well as it can be and marked, so that the record's own bytes are stored beside.
"""

import base64
import math
from typing import Any

import orjson

from otel_ingest.limits import Limits

# From here on jsonb writes a double without its point, as if it had been an int.
DOUBLE_WITHOUT_POINT = 1e16
# How JSON writes NUL; text that only looks like it is told apart by looking closer.
NUL_ESCAPE = b"\\u0000"
# ``body_kind`` of a log record.
NO_BODY, STRING_BODY, JSON_BODY = 0, 1, 2


class ValueRejectedError(ValueError):
    """A record that may not be stored; the text is the reason for the sender."""


class Lossy:
    """Reads the values of messages; collects, for one record, whether anything was not kept exactly.

    ``may_be_unknown``: the record may hold fields of a newer OTLP than ours, which are looked for.
    """

    __slots__ = ("attributes", "limits", "lossy", "may_be_unknown")

    def __init__(self, limits: Limits, *, may_be_unknown: bool = False) -> None:
        self.limits = limits
        self.may_be_unknown = may_be_unknown
        self.lossy = False
        self.attributes = 0

    def attributes_json(self, pairs: Any) -> bytes:
        """Return a JSON object of repeated KeyValue. Raises ValueRejectedError past a limit."""
        if not pairs:
            return b"{}"
        return self.json(self.mapping(pairs, 1))

    def mapping(self, pairs: Any, depth: int) -> dict[str, Any]:
        """Return the dict of repeated KeyValue; of duplicate keys the last one shows."""
        self._count(len(pairs))
        result: dict[str, Any] = {}
        for pair in pairs:
            key, value = pair.key, pair.value
            # Most values are text, and text that is not empty is no other kind: asking for the kind costs more.
            item: Any = value.string_value
            kind = None if item else value.WhichOneof("value")
            if item or kind == "string_value":
                pass
            elif kind == "int_value":
                item = value.int_value
            elif kind is None:
                item = None
                self.lossy = self.lossy or not pair.HasField("value")
            else:
                item = self.value(value, kind, depth)
            result[key] = item
            if pair.key_strindex:
                self.lossy = True
        if len(result) != len(pairs):
            self.lossy = True
        return result

    def value(self, value: Any, kind: str | None, depth: int) -> Any:  # noqa: PLR0911 - one line a kind
        """Return the JSON-ready form of one AnyValue at ``depth`` (1 is an attribute's own value)."""
        if kind == "string_value":
            return value.string_value
        if kind == "bool_value":
            return value.bool_value
        if kind == "int_value":
            return value.int_value
        if kind == "double_value":
            return self.double(value.double_value)
        if depth > self.limits.value_depth_max:
            raise ValueRejectedError(f"a value nests deeper than {self.limits.value_depth_max}")
        if kind == "array_value":
            values = value.array_value.values
            self._count(len(values))
            return [self.value(v, v.WhichOneof("value"), depth + 1) for v in values]
        if kind == "kvlist_value":
            return self.mapping(value.kvlist_value.values, depth + 1)
        if kind is None:
            return None
        self.lossy = True
        return base64.b64encode(value.bytes_value).decode() if kind == "bytes_value" else None

    def double(self, value: float) -> float | str:
        """Return a double as JSON shows it; NaN and infinities as strings."""
        if not math.isfinite(value):
            self.lossy = True
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        if abs(value) >= DOUBLE_WITHOUT_POINT or (value == 0 and math.copysign(1, value) < 0):
            self.lossy = True
        return value

    def text(self, value: str) -> str:
        """Return text that PostgreSQL can hold: U+FFFD for NUL."""
        if "\0" in value:
            self.lossy = True
            return value.replace("\0", "\ufffd")
        return value

    def json(self, value: Any) -> bytes:
        """Return any JSON-ready value as bytes that jsonb takes."""
        data = orjson.dumps(value)
        # One search in the whole costs less than one in each string; only the rare hit looks closer.
        return data if NUL_ESCAPE not in data else orjson.dumps(self._without_nul(value))

    def body(self, record: Any) -> tuple[int, str | None]:
        """Return ``body_kind`` and ``body``; a body that is there but holds no value is JSON null."""
        if not record.HasField("body"):
            return NO_BODY, None
        kind = record.body.WhichOneof("value")
        if kind == "string_value":
            return STRING_BODY, self.text(record.body.string_value)
        return JSON_BODY, self.json(self.value(record.body, kind, 1)).decode()

    def exact(self, record: Any) -> bytes | None:
        """Return the record's own bytes where its columns do not hold all of it; asked last."""
        if self.lossy or (self.may_be_unknown and has_unknown(record)):
            return bytes(record.SerializeToString())
        return None

    def _without_nul(self, value: Any) -> Any:
        """Return a JSON-ready value with U+FFFD for NUL in every string, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._without_nul(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self._without_nul(item) for key, item in value.items()}
        return value

    def _count(self, more: int) -> None:
        self.attributes += more
        if self.attributes > self.limits.attributes_max:
            raise ValueRejectedError(f"more than {self.limits.attributes_max} attributes and array elements")


def has_unknown(message: Any) -> bool:
    """Return whether a message holds, at any depth, fields that our OTLP has no name for."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return bool(known.ByteSize() != message.ByteSize())
