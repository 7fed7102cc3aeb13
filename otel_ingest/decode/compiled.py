"""PURE: rows of an outlined request: its records' bytes become COPY tuples in compiled code, a slice of them at a time.

Whatever that leaves (``otel_ingest.native``) is parsed record by record and goes the plain way, which alone decides.
Both give the same row; a property test compares them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_ingest.decode.attributes import ValueRejectedError
from otel_ingest.decode.context import Context, Item, Named, Shape, one_by_one, resource_row, scope_row
from otel_ingest.limits import Limits
from otel_ingest.native import records as native
from storage.batch import EncodedRows, Tuples
from storage.rows import LogRow, ResourceRow, ScopeRow, SpanRow

# Nesting that the compiled code follows: it recurses on the stack.
_DEPTH_MAX = 16
# Resources and scopes remembered at most, and the longest that is.
_KNOWN_ENVELOPES_MAX, _KNOWN_ENVELOPE_BYTES_MAX = 512, 8192


@dataclass(frozen=True, slots=True)
class _Rows:
    """Makes the rows of one scope's records; ``plain`` is the other way, of one record's bytes."""

    plain: Callable[[bytes, Named, Context], Iterator[Item]]
    spans: bool

    def __call__(self, scope: native.Scope, named: Named, context: Context) -> Iterator[Item]:
        """Yield them in order."""
        limits = context.limits
        times = context.earliest_ns, context.latest_ns, context.received_ns
        depth_max = min(_DEPTH_MAX, limits.value_depth_max)
        envelope = _envelope(named, context.quick_bytes_max, depth_max, self.spans)
        at, left = scope.at, scope.records
        while left:
            # No slice goes past the bound on a request's records: what is beyond it is not decoded at all.
            most = max(1, limits.records_max - context.position)
            rows = native.rows(scope, at, envelope, times, most)
            at, left = rows.at, left - rows.records
            yield from self._items(rows, named, context)

    def _items(self, rows: native.Rows, named: Named, context: Context) -> Iterator[Item]:
        """Yield a slice's rows, and in their places what the plain way makes of those that are left to it."""
        run = EncodedRows.of(named[2], rows.cells, rows.served)
        done = 0
        for which, data in (*rows.left, (rows.records, b"")):
            if which > done:
                run.rows = Tuples.of(rows.data, rows.ends, done, which)
                context.position += which - done
                yield run
                run = EncodedRows.of(named[2])
            done = which + 1
            if which < rows.records:
                yield from self.plain(data, named, context)


def of(message_type: Any, row: Callable[[Any, Named, Context], LogRow | SpanRow], *, spans: bool) -> Shape:
    """Return the shape of an outlined request; ``row`` is the plain way of a parsed record."""

    def parsed(data: bytes, named: Named, context: Context) -> Item:
        return row(_message(message_type, data), named, context)

    return Shape("groups", "scopes", _places, _resource, _scope, _Rows(one_by_one(_itself, parsed), spans))


def _places(scope: native.Scope) -> range:
    return range(scope.records)


def _itself(data: bytes) -> tuple[bytes]:
    return (data,)


@lru_cache(_KNOWN_ENVELOPES_MAX)
def _envelope(named: Named, record_bytes_max: int, depth_max: int, spans: bool) -> native.Envelope:  # noqa: FBT001
    return native.Envelope(*named, record_bytes_max, depth_max, spans=spans)


def _message(message_type: Any, data: bytes) -> Any:
    try:
        return message_type.FromString(data)
    except DecodeError as error:
        raise ValueRejectedError("it cannot be parsed (invalid UTF-8, or nested too deeply)") from error


def _remembering(
    message_type: Any, row: Callable[..., ResourceRow | ScopeRow]
) -> Callable[[bytes | None, str, Limits], Any]:
    """Return what makes the row of a resource or a scope from its bytes; one seen before is not made again."""

    def fresh(data: bytes | None, schema_url: str, limits: Limits) -> ResourceRow | ScopeRow:
        return row(_message(message_type, data or b""), schema_url, limits, is_set=data is not None)

    known = lru_cache(_KNOWN_ENVELOPES_MAX)(fresh)

    def make(data: bytes | None, schema_url: str, limits: Limits) -> ResourceRow | ScopeRow:
        short = len(data or b"") + len(schema_url) <= _KNOWN_ENVELOPE_BYTES_MAX
        return (known if short else fresh)(data, schema_url, limits)

    return make


_resource_row, _scope_row = _remembering(Resource, resource_row), _remembering(InstrumentationScope, scope_row)


def _resource(group: native.Group, limits: Limits) -> Any:
    return _resource_row(group.resource, group.schema_url, limits)


def _scope(scope: native.Scope, limits: Limits) -> Any:
    return _scope_row(scope.scope, scope.schema_url, limits)
