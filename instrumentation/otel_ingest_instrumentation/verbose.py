"""One request in full (docs/x-trace-log.md): its context is marked, and the marked log at TRACE, counted."""

import logging
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, create_key, get_value, set_value

from otel_ingest_instrumentation import taps

_KEY = create_key("otel-ingest-x-trace-log")


class Mark:
    """What a marked request carries: the value it came with, and how many records it may still make."""

    __slots__ = ("left", "limit", "value")

    def __init__(self, value: str, limit: int) -> None:
        self.value = value
        self.limit = limit
        self.left = limit
        taps.hold(1)

    def __del__(self) -> None:
        taps.hold(-1)

    def wants(self) -> bool:
        """Return whether it may make another record."""
        return self.left > 0

    def take(self, record: logging.LogRecord, deliver: Callable[[logging.LogRecord], object]) -> None:
        """Deliver a record; the last one is followed by one that says so."""
        if self.left <= 0:
            return
        self.left -= 1
        deliver(record)
        if self.left == 0:
            made = f"{self.limit} records below their logger's level were made for this request"
            text = f"X-Trace-Log: {made}; no more follow"
            deliver(logging.LogRecord(record.name, logging.WARNING, "", 0, text, (), None))


def marked(context: Context | None, value: str, limit: int) -> Context:
    """Return the context, marked."""
    return set_value(_KEY, Mark(value, limit), context)


def mark_of(context: Context | None = None) -> Mark | None:
    """Return the mark of a context (default: the current one)."""
    mark = get_value(_KEY, context)
    return mark if isinstance(mark, Mark) else None


def forced(sampler: Any) -> None:
    """Have a sampler record the spans of a marked context, whatever it says of others."""
    from opentelemetry.sdk.trace.sampling import Decision, SamplingResult  # noqa: PLC0415
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    decide = sampler.should_sample

    def should_sample(parent_context: Context | None, trace_id: int, name: str, *args: Any, **kwargs: Any) -> Any:
        result = decide(parent_context, trace_id, name, *args, **kwargs)
        if not taps.held() or result.decision is Decision.RECORD_AND_SAMPLE or mark_of(parent_context) is None:
            return result
        attributes = args[1] if len(args) > 1 else kwargs.get("attributes")
        state = get_current_span(parent_context).get_span_context().trace_state
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    sampler.should_sample = should_sample


taps.allowance = mark_of
