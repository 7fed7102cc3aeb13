"""One request in full (docs/x-trace-log.md): its context is marked, and the marked log at TRACE to our handler alone.

While no marked request is running, ``logging.Logger`` is as Python made it: other requests pay nothing. While one is,
two of its methods are ours; they look at the context only for records that are below their logger's level.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, create_key, get_value, set_value

TRACE = 5
_KEY = create_key("otel-ingest-x-trace-log")
_lock = threading.RLock()  # a finaliser may run while this thread holds it
_running = 0
_is_enabled_for = logging.Logger.isEnabledFor
_call_handlers = logging.Logger.callHandlers
_deliver: Callable[[logging.LogRecord], object] | None = None


class Mark:
    """What a marked request carries: the value it came with, and how many records it may still make."""

    __slots__ = ("left", "limit", "value")

    def __init__(self, value: str, limit: int) -> None:
        self.value = value
        self.limit = limit
        self.left = limit
        _count(1)

    def __del__(self) -> None:
        _count(-1)


def _count(change: int) -> None:
    global _running  # noqa: PLW0603
    with _lock:
        _running += change
        if _running == 1 and change == 1:
            logging.Logger.isEnabledFor = _enabled  # type: ignore[method-assign]
            logging.Logger.callHandlers = _call  # type: ignore[method-assign]
        elif _running == 0:
            logging.Logger.isEnabledFor = _is_enabled_for  # type: ignore[method-assign]
            logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign]


def install(deliver: Callable[[logging.LogRecord], object]) -> None:
    """Say where the records below their logger's level go: past every other handler."""
    global _deliver  # noqa: PLW0603
    _deliver = deliver


def marked(context: Context | None, value: str, limit: int) -> Context:
    """Return the context, marked."""
    return set_value(_KEY, Mark(value, limit), context)


def mark_of(context: Context | None = None) -> Mark | None:
    """Return the mark of a context (default: the current one)."""
    mark = get_value(_KEY, context)
    return mark if isinstance(mark, Mark) else None


def wanted() -> bool:
    """Return whether the current context is marked and may still make records below their logger's level."""
    if not _running:
        return False
    mark = mark_of()
    return mark is not None and mark.left > 0


def forced(sampler: Any) -> None:
    """Have a sampler record the spans of a marked context, whatever it says of others."""
    from opentelemetry.sdk.trace.sampling import Decision, SamplingResult  # noqa: PLC0415
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    decide = sampler.should_sample

    def should_sample(parent_context: Context | None, trace_id: int, name: str, *args: Any, **kwargs: Any) -> Any:
        result = decide(parent_context, trace_id, name, *args, **kwargs)
        if not _running or result.decision is Decision.RECORD_AND_SAMPLE or mark_of(parent_context) is None:
            return result
        attributes = args[1] if len(args) > 1 else kwargs.get("attributes")
        state = get_current_span(parent_context).get_span_context().trace_state
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    sampler.should_sample = should_sample


def _enabled(self: logging.Logger, level: int) -> bool:
    return _is_enabled_for(self, level) or (level >= TRACE and wanted())


def _call(self: logging.Logger, record: logging.LogRecord) -> None:
    if _is_enabled_for(self, record.levelno):
        _call_handlers(self, record)
        return
    mark = mark_of()
    if mark is None or _deliver is None or mark.left <= 0:
        return
    mark.left -= 1
    _deliver(record)
    if mark.left == 0:
        text = (
            f"X-Trace-Log: {mark.limit} records below their logger's level were made for this request; no more follow"
        )
        _deliver(logging.LogRecord(record.name, logging.WARNING, "", 0, text, (), None))
