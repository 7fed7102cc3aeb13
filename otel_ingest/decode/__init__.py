"""Step 3, PURE: a parsed request -> its rows, and why a record is rejected.

The plain way, from messages to the rows of ``storage.rows``, one by one, decides; ``compiled`` makes most records of a
protobuf request COPY tuples at once.
"""

from collections.abc import Iterator

from otel_ingest.decode import logs, metrics, spans
from otel_ingest.decode.attributes import has_unknown
from otel_ingest.decode.context import Context, Item, walk
from otel_ingest.limits import Limits
from otel_ingest.signals import Signal
from otel_ingest.wire import Parsed
from otel_ingest.wire.parsed import Form

_SHAPES = {
    Form.WHOLE: {"logs": logs.PLAIN, "traces": spans.PLAIN, "metrics": metrics.PLAIN},
    Form.OUTLINE: {"logs": logs.COMPILED, "traces": spans.COMPILED},
}


def decode(signal: Signal, parsed: Parsed, *, received_ns: int, limits: Limits) -> Iterator[Item]:
    """Yield the rows of a request, in wire order; a ResourceRow and a ScopeRow come before the rows that name them.

    A record past a limit, with an id of a wrong length or a time out of range comes as a Rejection with its position
    in the request as sent. ``received_ns``: when the request arrived, nanoseconds since 1970.
    """
    shape = _SHAPES[parsed.form][signal.name]
    check_size = parsed.size_bytes > limits.record_bytes_max
    # Of a request that is not whole only the records that went the plain way are asked, each by itself.
    may_be_unknown = parsed.form is Form.OUTLINE or has_unknown(parsed.message)
    context = Context(limits, received_ns, parsed.indexes, check_size, may_be_unknown)
    return walk(parsed.message, shape, context)
