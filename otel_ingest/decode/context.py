"""PURE: what the three decoders share: the walk, interning of resources and scopes, ids, times, positions."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs

from otel_ingest.decode.attributes import Lossy, ValueRejectedError, has_unknown
from otel_ingest.limits import Limits, Rejection
from storage.batch import EncodedRows
from storage.rows import LogRow, MetricPointRow, ResourceRow, ScopeRow, SpanRow

Item = LogRow | SpanRow | MetricPointRow | EncodedRows | ResourceRow | ScopeRow | Rejection
Named = tuple[bytes, bytes, str]
"""What every row of a scope names: the ids of its resource and scope, and its component."""

_NS_PER_DAY = 86_400_000_000_000
_INT64_MAX = (1 << 63) - 1
_INT32_MAX = (1 << 31) - 1
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
# The least that an attribute or an element of an array takes on the wire: its tag and a length.
_VALUE_BYTES_MIN = 2
UNKNOWN_COMPONENT = "unknown_service"
# The component stands in every row and in indexes, where PostgreSQL takes 2,704 bytes at most; UTF-8 takes 4 a
# character. A longer name is kept whole in the resource's attributes.
COMPONENT_CHARS_MAX = 512


@dataclass(slots=True)
class Context:
    """One request being decoded."""

    limits: Limits
    received_ns: int
    indexes: list[int] | None
    check_size: bool
    may_be_unknown: bool
    position: int = 0
    repeated_bytes: int = 0
    earliest_ns: int = field(init=False)
    latest_ns: int = field(init=False)
    quick_bytes_max: int = field(init=False)

    def __post_init__(self) -> None:
        self.earliest_ns = max(0, self.received_ns - self.limits.record_age_days_max * _NS_PER_DAY)
        self.latest_ns = self.received_ns + self.limits.record_ahead_days_max * _NS_PER_DAY
        # A record this short cannot be past a limit of size or count, so that the compiled way need not count.
        self.quick_bytes_max = min(self.limits.record_bytes_max, self.limits.attributes_max * _VALUE_BYTES_MIN)

    def reject(self, reason: str) -> Rejection:
        """Return the rejection of the record at hand and go on to the next."""
        return Rejection(self.take(), reason)

    def take(self) -> int:
        """Return the position of the record at hand in the request as sent, and go on to the next."""
        here = self.position
        self.position += 1
        return here if self.indexes is None else self.indexes[here]

    def time_us(self, first: int, second: int) -> int:
        """Return the first time that is given (not 0), else that of the receipt, in microseconds.

        Raises ValueRejectedError outside the years for which partitions are made.
        """
        time_ns = first or second
        if not time_ns:
            return self.received_ns // 1000
        if not self.earliest_ns <= time_ns <= self.latest_ns:
            raise ValueRejectedError(
                f"time out of range: {time_ns} ns since 1970 is more than "
                f"{self.limits.record_age_days_max} days from now"
            )
        return time_ns // 1000

    def values(self) -> Lossy:
        """Return what reads the values of one record the plain way."""
        return Lossy(self.limits, may_be_unknown=self.may_be_unknown)

    def bound(self, record: Any) -> None:
        """Raise ValueRejectedError when a record is too large to be one row."""
        if self.check_size and record.ByteSize() > self.limits.record_bytes_max:
            raise ValueRejectedError(f"it is larger than {self.limits.record_bytes_max} bytes")

    def repeat(self, size_bytes: int) -> None:
        """Count bytes that stand once in the request and in every row made from it.

        Raises ValueRejectedError when a small request would fill memory that way.
        """
        self.repeated_bytes += size_bytes
        if self.repeated_bytes > self.limits.body_bytes_max:
            raise ValueRejectedError(
                "name, description, unit and metadata of the metrics, once a data point, are over "
                f"{self.limits.body_bytes_max} bytes"
            )


def resource_row(resource: Any, schema_url: str, limits: Limits, *, is_set: bool) -> ResourceRow:
    """Return the interned resource. Raises ValueRejectedError when it is past a limit."""
    lossy = Lossy(limits)
    data = _bounded(resource, limits)
    attributes = lossy.attributes_json(resource.attributes)
    lossy.lossy = lossy.lossy or not is_set or bool(resource.entity_refs) or has_unknown(resource)
    return ResourceRow(
        _content_id(b"resource", is_set, data, schema_url),
        lossy.text(component_of(resource.attributes)),
        attributes,
        int32(resource.dropped_attributes_count),
        lossy.text(schema_url),
        _exact(ResourceLogs(schema_url=schema_url), "resource", data, is_set=is_set) if lossy.lossy else None,
    )


def scope_row(scope: Any, schema_url: str, limits: Limits, *, is_set: bool) -> ScopeRow:
    """Return the interned scope. Raises ValueRejectedError when it is past a limit."""
    lossy = Lossy(limits)
    data = _bounded(scope, limits)
    attributes = lossy.attributes_json(scope.attributes)
    name, version, url = lossy.text(scope.name), lossy.text(scope.version), lossy.text(schema_url)
    return ScopeRow(
        _content_id(b"scope", is_set, data, schema_url),
        name,
        version,
        attributes,
        int32(scope.dropped_attributes_count),
        url,
        _exact(ScopeLogs(schema_url=schema_url), "scope", data, is_set=is_set)
        if lossy.lossy or not is_set or has_unknown(scope)
        else None,
    )


def _exact(envelope: Any, part: str, data: bytes, *, is_set: bool) -> bytes:
    """Return what a resource or scope was, where its columns cannot hold it: its own bytes, none where none was sent.

    A schema URL with NUL fits no column: then a zero byte, which begins no message, and the envelope around it.
    """
    if "\0" not in envelope.schema_url:
        return data
    if is_set:
        getattr(envelope, part).ParseFromString(data)
        getattr(envelope, part).SetInParent()
    return b"\0" + bytes(envelope.SerializeToString(deterministic=True))


def _bounded(message: Any, limits: Limits) -> bytes:
    """Return the bytes of a resource or scope. Raises ValueRejectedError when it is too large to be one row."""
    data: bytes = message.SerializeToString(deterministic=True)
    if len(data) > limits.record_bytes_max:
        raise ValueRejectedError(f"it is larger than {limits.record_bytes_max} bytes")
    return data


@dataclass(frozen=True, slots=True)
class Shape:
    """How a signal's request is built, and how its parts are read.

    ``groups`` and ``scopes`` name the lists of its envelopes. ``records`` returns as many as one scope's envelope holds
    of what becomes a row; ``rows`` makes them rows or rejections, in wire order. The other two make rows of what they
    are given, or raise ValueRejectedError.
    """

    groups: str
    scopes: str
    records: Callable[[Any], Iterable[Any]]
    resource: Callable[[Any, Limits], ResourceRow]
    scope: Callable[[Any, Limits], ScopeRow]
    rows: Callable[[Any, Named, Context], Iterator[Item]]


def plain(groups: str, scopes: str, records: Callable[[Any], Iterable[Any]], row: Callable[..., Item]) -> Shape:
    """Return the shape of a request that is parsed to the bottom."""

    def resource(group: Any, limits: Limits) -> ResourceRow:
        return resource_row(group.resource, group.schema_url, limits, is_set=group.HasField("resource"))

    def scope(envelope: Any, limits: Limits) -> ScopeRow:
        return scope_row(envelope.scope, envelope.schema_url, limits, is_set=envelope.HasField("scope"))

    return Shape(groups, scopes, records, resource, scope, one_by_one(records, row))


def one_by_one(
    records: Callable[[Any], Iterable[Any]], row: Callable[[Any, Named, Context], Item]
) -> Callable[[Any, Named, Context], Iterator[Item]]:
    """Return what makes the rows of ``records`` of an envelope from what makes that of one, or raises its rejection."""

    def rows(envelope: Any, named: Named, context: Context) -> Iterator[Item]:
        for record in records(envelope):
            try:
                item = row(record, named, context)
            except ValueRejectedError as error:
                yield context.reject(str(error))
            else:
                context.position += 1
                yield item

    return rows


def walk(message: Any, shape: Shape, context: Context) -> Iterator[Item]:
    """Yield the rows of a request in wire order; what is wrong with a resource or scope costs its own records."""
    for group in getattr(message, shape.groups):
        try:
            resource = shape.resource(group, context.limits)
        except ValueRejectedError as error:
            for envelope in getattr(group, shape.scopes):
                yield from _rejected(envelope, f"its resource: {error}", shape, context)
            continue
        yield resource
        for envelope in getattr(group, shape.scopes):
            try:
                scope = shape.scope(envelope, context.limits)
            except ValueRejectedError as error:
                yield from _rejected(envelope, f"its scope: {error}", shape, context)
                continue
            yield scope
            named = resource.id, scope.id, resource.component
            yield from shape.rows(envelope, named, context)


def _rejected(envelope: Any, reason: str, shape: Shape, context: Context) -> Iterator[Item]:
    for _ in shape.records(envelope):
        yield context.reject(reason)


def component_of(attributes: Any) -> str:
    """Return service.name, with service.namespace/ before it where set; unknown_service without a name.

    At most COMPONENT_CHARS_MAX characters.
    """
    name = namespace = ""
    for pair in attributes:
        if pair.key == "service.name":
            name = pair.value.string_value
        elif pair.key == "service.namespace":
            namespace = pair.value.string_value
    name = name or UNKNOWN_COMPONENT
    return (f"{namespace}/{name}" if namespace else name)[:COMPONENT_CHARS_MAX]


def _content_id(kind: bytes, is_set: bool, data: bytes, schema_url: str) -> bytes:  # noqa: FBT001
    url = schema_url.encode()
    marker = kind + (b"+" if is_set else b"-") + len(url).to_bytes(4, "big")
    return hashlib.sha256(marker + url + data).digest()[:16]


def trace_id_of(value: bytes) -> bytes | None:
    """Return 16 bytes, or None for an empty id. Raises ValueRejectedError for any other length."""
    if not value:
        return None
    if len(value) != _TRACE_ID_BYTES:
        raise ValueRejectedError(f"trace_id has {len(value)} bytes, must be 16 or empty")
    return value


def span_id_of(value: bytes, name: str = "span_id") -> int | None:
    """Return 8 bytes as a signed integer, or None for an empty id. Raises ValueRejectedError for any other length."""
    if not value:
        return None
    if len(value) != _SPAN_ID_BYTES:
        raise ValueRejectedError(f"{name} has {len(value)} bytes, must be 8 or empty")
    return int.from_bytes(value, "big", signed=True)


def int64(value: int) -> int:
    """Return a uint64 as two's complement."""
    return value if value <= _INT64_MAX else value - (1 << 64)


def int32(value: int) -> int:
    """Return a uint32 as two's complement."""
    return value if value <= _INT32_MAX else value - (1 << 32)
