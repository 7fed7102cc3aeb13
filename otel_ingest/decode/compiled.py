"""PURE: rows of a shallow request: its records' bytes become COPY tuples in compiled code, a slice of them at a time.

Whatever that leaves (``otel_ingest.native``), and everything where it is not there, is parsed record by record and goes
the plain way, which alone decides. Both give the same row; a property test compares them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_ingest import native
from otel_ingest.decode.attributes import ValueRejectedError
from otel_ingest.decode.context import Context, Item, Named, Shape, resource_row, scope_row
from otel_ingest.limits import Limits
from storage.batch import EncodedRows
from storage.rows import LogRow, ResourceRow, ScopeRow, SpanRow

# A slice: half a millisecond, and enough that a call costs nothing; its tuples may take four times its bytes.
_SLICE_RECORDS, _SLICE_BYTES = 256, 512 * 1024
# Nesting that the compiled code follows: it recurses on the stack.
_DEPTH_MAX = 16
# Resources and scopes remembered at most, and the longest that is.
_KNOWN_ENVELOPES_MAX, _KNOWN_ENVELOPE_BYTES_MAX = 512, 8192


@dataclass(frozen=True, slots=True)
class _Rows:
    """Makes the rows of one scope's records; ``row`` is the plain way of a parsed one of ``message_type``."""

    message_type: Any
    row: Callable[[Any, Named, Context], LogRow | SpanRow]
    spans: bool

    def __call__(self, records: Iterable[bytes], named: Named, context: Context) -> Iterator[Item]:
        """Yield them in order."""
        if not native.available:
            for data in records:
                yield self._plain(data, named, context)
            return
        envelope = _envelope(named, context)
        part: list[bytes] = []
        # No slice goes past the bound on a request's records: what is beyond it is not decoded at all.
        size, most = 0, _slice(context)
        for data in records:
            is_long = len(data) > context.quick_bytes_max
            if not is_long:
                part.append(data)
                size += len(data)
            if is_long or len(part) >= most or size >= _SLICE_BYTES:
                yield from self._encoded(part, envelope, named, context)
                part, size, most = [], 0, _slice(context)
            if is_long:
                yield self._plain(data, named, context)
        yield from self._encoded(part, envelope, named, context)

    def _encoded(self, part: list[bytes], envelope: native.Envelope, named: Named, context: Context) -> Iterator[Item]:
        if not part:
            return
        tuples, cells, served = native.rows(part, envelope, spans=self.spans)
        run = EncodedRows.of(named[2], cells, served)
        for data, encoded in zip(part, tuples, strict=True):
            if encoded:
                run.rows.append(encoded)
                continue
            if run.rows:
                context.position += len(run.rows)
                yield run
                run = EncodedRows.of(named[2])
            yield self._plain(data, named, context)
        if run.rows:
            context.position += len(run.rows)
            yield run

    def _plain(self, data: bytes, named: Named, context: Context) -> Item:
        try:
            item = self.row(_message(self.message_type, data), named, context)
        except ValueRejectedError as error:
            return context.reject(str(error))
        context.position += 1
        return item


def of(
    shape: Shape, message_type: Any, row: Callable[[Any, Named, Context], LogRow | SpanRow], *, spans: bool
) -> Shape:
    """Return the shape of a shallow request, whose records are bytes; ``row`` is the plain way of a parsed one."""
    return Shape(shape.groups, shape.scopes, shape.records, _resource, _scope, _Rows(message_type, row, spans))


def _slice(context: Context) -> int:
    left = context.limits.records_max - context.position
    return min(_SLICE_RECORDS, left) if left > 0 else _SLICE_RECORDS


def _envelope(named: Named, context: Context) -> native.Envelope:
    return native.Envelope(
        *named,
        context.earliest_ns,
        context.latest_ns,
        context.received_ns,
        context.quick_bytes_max,
        min(_DEPTH_MAX, context.limits.value_depth_max),
    )


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
