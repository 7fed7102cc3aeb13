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
from otel_ingest.decode.context import Context, Item, Named, Shape, one_by_one, resource_row, scope_row
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
    """Makes the rows of one scope's records; ``plain`` is the other way, of any records."""

    plain: Callable[[Iterable[bytes], Named, Context], Iterator[Item]]
    spans: bool

    def __call__(self, records: Iterable[bytes], named: Named, context: Context) -> Iterator[Item]:
        """Yield them in order."""
        if not native.available:
            yield from self.plain(records, named, context)
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
                yield from self.plain([data], named, context)
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
            yield from self.plain([data], named, context)
        if run.rows:
            context.position += len(run.rows)
            yield run


def of(
    shape: Shape, message_type: Any, row: Callable[[Any, Named, Context], LogRow | SpanRow], *, spans: bool
) -> Shape:
    """Return the shape of a shallow request, whose records are bytes; ``row`` is the plain way of a parsed one."""

    def parsed(data: bytes, named: Named, context: Context) -> Item:
        return row(_message(message_type, data), named, context)

    return Shape(shape.groups, shape.scopes, shape.records, _resource, _scope, _Rows(one_by_one(parsed), spans))


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


def _remembering(
    name: str, message_type: Any, row: Callable[..., ResourceRow | ScopeRow]
) -> Callable[[Any, Limits], Any]:
    """Return what makes the row of an envelope's resource or scope (``name``); one seen before is not made again."""

    @lru_cache(_KNOWN_ENVELOPES_MAX)
    def known(data: bytes, schema_url: str, limits: Limits, is_set: bool) -> ResourceRow | ScopeRow:  # noqa: FBT001
        return row(_message(message_type, data), schema_url, limits, is_set=is_set)

    def make(envelope: Any, limits: Limits) -> ResourceRow | ScopeRow:
        parts = getattr(envelope, name)
        data = b"".join(parts)
        short = len(data) + len(envelope.schema_url) <= _KNOWN_ENVELOPE_BYTES_MAX
        return (known if short else known.__wrapped__)(data, envelope.schema_url, limits, bool(parts))

    return make


_resource = _remembering("resource", Resource, resource_row)
_scope = _remembering("scope", InstrumentationScope, scope_row)
