"""Step 3, PURE: a parsed request -> the rows of ``storage.rows``, one by one, and why a record is rejected."""

from collections.abc import Iterator

from otel_ingest.decode import logs, metrics, spans
from otel_ingest.decode.context import Context, Item, walk
from otel_ingest.limits import Limits
from otel_ingest.signals import Signal
from otel_ingest.wire import Parsed

_SHAPES = {"logs": logs.SHAPE, "traces": spans.SHAPE, "metrics": metrics.SHAPE}


def decode(signal: Signal, parsed: Parsed, *, received_ns: int, limits: Limits) -> Iterator[Item]:
    """Yield the rows of a request; a ResourceRow and a ScopeRow come before the rows that name them.

    A record past a limit, with an id of a wrong length or a time out of range comes as a Rejection with its position
    in the request as sent. ``received_ns``: when the request arrived, nanoseconds since 1970.
    """
    context = Context(limits, received_ns, parsed.indexes, check_size=parsed.size_bytes > limits.record_bytes_max)
    return walk(parsed.message, _SHAPES[signal.name], context)
