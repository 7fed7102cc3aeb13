"""OTLP/JSON bodies -> messages (OTLP specification, "JSON Protobuf Encoding"), driven by the message descriptors.

Never ``json_format``: it reads ids as base64 and takes snake_case and enum names. A record with a wrong value costs
only itself; its reason names the JSON path.
"""

import json
from typing import Any

import orjson

from otel_ingest.errors import MalformedRequest
from otel_ingest.limits import Limits
from otel_ingest.signals import METRICS, Signal
from otel_ingest.wire.json_salvage import prune
from otel_ingest.wire.json_values import Convert, JsonValueError, converter
from otel_ingest.wire.parsed import Parsed, Tally

_POINT_HOLDERS = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponentialHistogram": "exponential_histogram",
    "summary": "summary",
}
# What a message's constructor raises for values out of range and text that is not Unicode, beside our own.
_UNFIT = (ValueError, TypeError, OverflowError)


def parse_whole(signal: Signal, body: bytes, limits: Limits) -> Parsed:
    """Return the request of a JSON body. Raises MalformedRequest when it is not one JSON object of OTLP's shape."""
    document = load(body)
    if not isinstance(document, dict):
        raise MalformedRequest(
            f'the body is a JSON {_kind(document)}, expected an object such as {{"{signal.json_lists[0]}": []}}'
        )
    return _Reader(signal, limits).request(document)


def load(body: bytes) -> Any:
    """Return the JSON document.

    It may hold what its records answer for: lone surrogates, invalid UTF-8, nesting without end.
    Raises MalformedRequest.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "enough memory" in str(error):
            # The standard library's parser takes more.
            raise MemoryError from error
        return _load_damaged(body, error)


def _load_damaged(body: bytes, first: orjson.JSONDecodeError) -> Any:
    if body.startswith(b"\xef\xbb\xbf"):
        raise MalformedRequest("the body begins with a byte order mark; JSON has none (RFC 8259, 8.1)") from first
    try:
        return json.loads(prune(body).decode("utf-8", "surrogateescape"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not valid JSON: {first}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; write it as a string")


class _Reader:
    """Walks one document; counts records in order, keeps the good ones."""

    def __init__(self, signal: Signal, limits: Limits) -> None:
        self._signal = signal
        self._limits = limits
        self._tally = Tally()
        root: Any = signal.request_type.DESCRIPTOR
        groups = root.fields[0]
        scopes = groups.message_type.fields_by_number[2]
        records = scopes.message_type.fields_by_number[2]
        self._fields = (groups.name, scopes.name, records.name)
        depth = limits.value_depth_max
        self._group = converter(groups.message_type, depth, without=scopes.name)
        self._scope = converter(scopes.message_type, depth, without=records.name)
        self._record = converter(records.message_type, depth)
        self._metric = converter(records.message_type, depth, without=tuple(_POINT_HOLDERS.values()))
        self._group_type = groups.message_type._concrete_class  # noqa: SLF001 - how protobuf names it
        self._scope_type = scopes.message_type._concrete_class  # noqa: SLF001
        self._record_type = records.message_type._concrete_class  # noqa: SLF001
        self._descriptor: Any = records.message_type

    def request(self, document: dict[str, Any]) -> Parsed:
        group_key, scope_key, record_key = self._signal.json_lists
        groups = []
        for i, group in enumerate(_list(document, group_key, "")):
            path = f"{group_key}[{i}]"
            kwargs = self._envelope(self._group, self._group_type, group, path)
            scopes = []
            for j, scope in enumerate(_list(group, scope_key, path)):
                scope_path = f"{path}.{scope_key}[{j}]"
                scope_kwargs = self._envelope(self._scope, self._scope_type, scope, scope_path)
                records = _list(scope, record_key, scope_path)
                spoiled = kwargs if isinstance(kwargs, JsonValueError) else scope_kwargs
                if isinstance(spoiled, JsonValueError):
                    self._tally.reject(spoiled.what, sum(map(self._count, records)))
                    continue
                kept = self._records(records, f"{scope_path}.{record_key}")
                scopes.append(scope_kwargs | {self._fields[2]: kept})
            if not isinstance(kwargs, JsonValueError):
                groups.append(kwargs | {self._fields[1]: scopes})
        return self._tally.parsed(self._signal.request_type(**{self._fields[0]: groups}))

    def _envelope(self, convert: Convert, message_type: Any, value: Any, path: str) -> Any:
        """Return the keyword arguments of a resource or scope group, or the error that spoils its records."""
        if not isinstance(value, dict):
            raise MalformedRequest(f"{path} is a JSON {_kind(value)}, expected an object")
        try:
            kwargs = convert(value, 0)
            message_type(**kwargs)
        except _UNFIT as error:
            return JsonValueError(_reason(error, path))
        return kwargs

    def _records(self, records: list[Any], path: str) -> list[Any]:
        if self._signal is METRICS:
            return [m for k, r in enumerate(records) if (m := self._one_metric(r, f"{path}[{k}]")) is not None]
        kept = []
        for k, record in enumerate(records):
            try:
                values = self._record(record, 0)
                kept.append(self._record_type(**values))
            except _UNFIT as error:
                self._tally.reject(_reason(error, f"{path}[{k}]"))
            else:
                self._tally.accept()
        return kept

    def _one_metric(self, metric: Any, path: str) -> Any | None:
        """Convert a metric; where that fails, its data points one by one."""
        count = self._count(metric)
        if isinstance(metric, dict) and sum(metric.get(key) is not None for key in _POINT_HOLDERS) > 1:
            self._tally.reject(f"{path} has more than one kind of data points", max(count, 1))
            return None
        try:
            message = self._record_type(**self._record(metric, 0))
        except _UNFIT as error:
            if count < 2 or not isinstance(metric, dict):  # noqa: PLR2004
                self._tally.reject(_reason(error, path), max(count, 1))
                return None
        else:
            self._tally.accept(count)
            return message
        try:
            message = self._record_type(**self._metric(metric, 0))
        except _UNFIT as error:
            self._tally.reject(_reason(error, path), count)
            return None
        for key, name in _POINT_HOLDERS.items():
            if isinstance(metric.get(key), dict):
                self._points(message, name, metric[key], f"{path}.{key}")
        return message

    def _points(self, message: Any, name: str, holder: dict[str, Any], path: str) -> None:
        descriptor = self._descriptor.fields_by_name[name].message_type
        point_descriptor = descriptor.fields_by_name["data_points"].message_type
        convert = converter(point_descriptor, self._limits.value_depth_max)
        target = getattr(message, name)
        points = _list(holder, "dataPoints", path)
        own = converter(descriptor, self._limits.value_depth_max, without="data_points")
        try:
            target.MergeFrom(type(target)(**own(holder, 0)))
        except _UNFIT as error:
            self._tally.reject(_reason(error, path), len(points))
            return
        for k, point in enumerate(points):
            try:
                target.data_points.append(point_descriptor._concrete_class(**convert(point, 0)))  # noqa: SLF001
            except _UNFIT as error:
                self._tally.reject(_reason(error, f"{path}.dataPoints[{k}]"))
            else:
                self._tally.accept()

    def _count(self, record: Any) -> int:
        return count_points(record) if self._signal is METRICS else 1


def count_points(metric: Any) -> int:
    """Return how many data points a metric has; 1 where that cannot be told."""
    if not isinstance(metric, dict):
        return 1
    holders = (metric.get(key) for key in _POINT_HOLDERS)
    return sum(len(h["dataPoints"]) for h in holders if isinstance(h, dict) and isinstance(h.get("dataPoints"), list))


def _list(holder: Any, key: str, path: str) -> list[Any]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedRequest(f"{path + '.' if path else ''}{key} is a JSON {_kind(value)}, expected an array")
    return value


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _reason(error: Exception, path: str) -> str:
    if isinstance(error, JsonValueError):
        return error.under(path)
    if isinstance(error, UnicodeError):
        return f"{path} holds text that is not valid Unicode (a lone surrogate, or invalid UTF-8)"
    return f"{path}: {error}"
