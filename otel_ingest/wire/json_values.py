"""PURE: converters from JSON values to protobuf keyword arguments, compiled once from each message descriptor."""

import base64
import binascii
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

Convert = Callable[[Any, int], Any]
"""(value, depth of AnyValue) -> keyword argument. Raises JsonValueError."""

HEX_IDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_PATH_CHARS_MAX = 200
_INTEGER = re.compile(r"-?[0-9]{1,20}\Z")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


class JsonValueError(ValueError):
    """A value of the wrong type or form; ``what`` says what would be right.

    The JSON path is gathered while the error goes up (``at``), so that a right value costs nothing.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path = ""

    def at(self, step: str) -> None:
        """Put one step before the path: ``.key`` or ``[index]``."""
        self.path = step + self.path

    def under(self, path: str) -> str:
        """Return the whole sentence; ``path`` is where the conversion began."""
        full = path + self.path
        return f"{full if len(full) <= _PATH_CHARS_MAX else full[:_PATH_CHARS_MAX] + '…'} {self.what}"


@cache
def converter(descriptor: Descriptor, depth_max: int, without: str | tuple[str, ...] = ()) -> Convert:
    """Return the converter of a message: JSON object -> keyword arguments of its class, unknown names ignored.

    Fields named in ``without`` (protobuf names) are left out. Raises JsonValueError when called on a wrong value.
    """
    left_out = (without,) if isinstance(without, str) else without
    table: dict[str, tuple[str, Convert]] = {}
    is_value = descriptor.full_name.endswith(".AnyValue")

    def convert(value: Any, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise JsonValueError("must be an object")
        if is_value:
            depth += 1
            if depth > depth_max:
                raise JsonValueError(f"nests deeper than {depth_max} values")
        result = {}
        for key, item in value.items():
            entry = table.get(key)
            if entry is not None and item is not None:
                try:
                    result[entry[0]] = entry[1](item, depth)
                except JsonValueError as error:
                    error.at(f".{key}")
                    raise
        if is_value and len(result) > 1:
            raise JsonValueError(f"has more than one kind of value: {', '.join(result)}")
        return result

    # Filled after it is made: AnyValue holds itself.
    table.update((f.json_name, (f.name, _field(f, depth_max))) for f in descriptor.fields if f.name not in left_out)
    return convert


def _field(field: FieldDescriptor, depth_max: int) -> Convert:
    one = _single(field, depth_max)
    if not field.is_repeated:
        return one

    is_pair = field.message_type is not None and field.message_type.name == "KeyValue"

    def convert(value: Any, depth: int) -> list[Any]:
        if not isinstance(value, list):
            raise JsonValueError("must be an array")
        result: list[Any] = []
        try:
            for item in value:
                found = _simple_pair(item) if is_pair and depth < depth_max else None
                result.append(found or one(item, depth))  # the length says which item was wrong
        except JsonValueError as error:
            error.at(f"[{len(result)}]")
            raise
        return result

    return convert


def _simple_pair(item: Any) -> dict[str, Any] | None:
    """Return what the converter of KeyValue would of a key with text, a number or a truth value; None for others."""
    if type(item) is not dict or len(item) != len(_PAIR):
        return None
    key, value = item.get("key"), item.get("value")
    if type(key) is not str or type(value) is not dict or len(value) != 1:
        return None
    ((kind, raw),) = value.items()
    if kind == "stringValue" and type(raw) is str:
        return {"key": key, "value": {"string_value": raw}}
    leaf = _LEAVES.get(kind)
    if leaf is None or raw is None:
        return None
    try:
        return {"key": key, "value": {leaf[0]: leaf[1](raw, 0)}}
    except JsonValueError:
        return None


def _single(field: FieldDescriptor, depth_max: int) -> Convert:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _later(field.message_type, depth_max)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _boolean
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _hex_id if field.name in HEX_IDS else _bytes
    return _integer(*_RANGES[field.cpp_type]) if field.cpp_type in _RANGES else _double


def _later(descriptor: Any, depth_max: int) -> Convert:
    """Return a converter that is looked up when first used: a type may hold itself."""
    found: list[Convert] = []

    def convert(value: Any, depth: int) -> Any:
        if not found:
            found.append(converter(descriptor, depth_max))
        return found[0](value, depth)

    return convert


def _string(value: Any, _: int) -> str:
    if not isinstance(value, str):
        raise JsonValueError("must be a string")
    return value


def _boolean(value: Any, _: int) -> bool:
    if not isinstance(value, bool):
        raise JsonValueError("must be true or false")
    return value


def _enum(value: Any, _: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise JsonValueError("must be the number of an enum value; names are not allowed in OTLP/JSON")
    low, high = _RANGES[FieldDescriptor.CPPTYPE_INT32]
    if not low <= value <= high:
        raise JsonValueError("is out of the range of an enum")
    return value


@cache
def _integer(low: int, high: int) -> Convert:
    def convert(value: Any, _: int) -> int:
        if type(value) is not int:
            if (isinstance(value, str) and _INTEGER.match(value)) or (isinstance(value, float) and value.is_integer()):
                value = int(value)
            else:
                raise JsonValueError("must be an integer, as a decimal string or a number")
        if not low <= value <= high:
            raise JsonValueError(f"is out of range, from {low} to {high}")
        return int(value)

    return convert


def _double(value: Any, _: int) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise JsonValueError("is too large for a double") from None
    if isinstance(value, str):
        if value in _SPECIAL:
            return _SPECIAL[value]
        if _NUMBER.match(value):
            return float(value)
    raise JsonValueError('must be a number, or "NaN", "Infinity", "-Infinity"')


def _hex_id(value: Any, _: int) -> bytes:
    if isinstance(value, str):
        try:
            return binascii.unhexlify(value)
        except ValueError:
            pass
    raise JsonValueError("must be a string of hexadecimal digits, two a byte")


def _bytes(value: Any, _: int) -> bytes:
    if isinstance(value, str):
        text = value.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            pass
    raise JsonValueError("must be base64")


_PAIR = ("key", "value")
_LEAVES: dict[str, tuple[str, Convert]] = {
    "boolValue": ("bool_value", _boolean),
    "intValue": ("int_value", _integer(*_RANGES[FieldDescriptor.CPPTYPE_INT64])),
    "doubleValue": ("double_value", _double),
}
