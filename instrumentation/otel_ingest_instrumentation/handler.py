"""The SDK's logging handler, put right: qualified exception types, levels below DEBUG, no loops, stderr kept.

``adopt`` changes the class of the handler that opentelemetry-instrumentation-logging made, so that everything which
holds that handler (its own wrappers of basicConfig and dictConfig do) goes on working.
"""

import logging
from typing import Any

from opentelemetry.instrumentation.logging.handler import LoggingHandler

from otel_ingest_instrumentation import guard, taps
from otel_ingest_instrumentation.records import severity

_DEBUG = 10


def type_name(kind: type) -> str:
    """Return the qualified name of an exception's type, without ``builtins``."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Handler(LoggingHandler):
    """Hands log records of the standard library to OpenTelemetry."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over, unless it is about the handing over; never raises into the application."""
        if guard.is_exporting() or guard.is_own(record.name):
            return
        if taps.unwanted(record.name, record.levelno):
            return
        try:
            super().emit(record)
        except Exception:  # noqa: BLE001
            self.handleError(record)
        if record.levelno >= logging.WARNING and logging.lastResort is not None and _alone(record.name):
            logging.lastResort.handle(record)  # as Python does where nobody configured logging

    def flush(self) -> None:
        """Do nothing: ``logging.shutdown`` would start a thread, and the exit hooks flush."""

    def _get_attributes(self, record: logging.LogRecord) -> tuple[dict[str, Any], str | None]:
        attributes, event_name = super()._get_attributes(record)
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exception.type"] = type_name(record.exc_info[0])
            attributes["exception.message"] = str(record.exc_info[1])
        return attributes, event_name

    def _translate(self, record: logging.LogRecord) -> Any:
        out = super()._translate(record)
        if record.levelno < _DEBUG:
            out.severity_number = severity(None, f"Level {record.levelno}")
        return out


def adopt(handler: logging.Handler) -> bool:
    """Make an SDK handler one of ours; return whether it is."""
    if type(handler) is LoggingHandler:
        handler.__class__ = Handler
    return isinstance(handler, Handler)


def _alone(name: str) -> bool:
    """Return whether no handler but ours sees the records of a logger."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(h, Handler) for h in logger.handlers):
            return False
        logger = logger.parent if logger.propagate else None
    return True
