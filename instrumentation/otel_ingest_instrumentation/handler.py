"""The SDK's logging handler, put right: qualified exception types, levels below DEBUG, no loops, stderr kept.

``adopt`` changes the class of the handler that opentelemetry-instrumentation-logging made, so that everything which
holds that handler (its own wrappers of basicConfig and dictConfig do) goes on working. What is done for each record is
on the application's time: loggers are looked up once, and a record without extras is not searched for them.
"""

import logging
from time import time_ns
from typing import Any

from opentelemetry._logs import LogRecord, NoOpLogger, get_logger
from opentelemetry.context import get_current
from opentelemetry.instrumentation.log_utils import std_to_otel
from opentelemetry.instrumentation.logging.handler import LoggingHandler

from otel_ingest_instrumentation import guard, taps
from otel_ingest_instrumentation.records import severity

_DEBUG = 10
_TEXTS = {"WARNING": "WARN", "CRITICAL": "FATAL"}  # the standard's names
_PLAIN = len(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)  # fields of a record without extras
_LOGGERS_MAX = 10_000  # names made up for each request must not grow it


def type_name(kind: type) -> str:
    """Return the qualified name of an exception's type, without ``builtins``."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Handler(LoggingHandler):
    """Hands log records of the standard library to OpenTelemetry."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over, unless it is about the handing over; never raises into the application."""
        name = record.name
        if guard.is_exporting() or self._is_emitting.get() or (name[:4] in guard.OWN_STARTS and guard.is_own(name)):
            return
        if taps.held() and taps.unwanted(name, record.levelno):
            return
        token = self._is_emitting.set(True)
        try:
            logger = self._logger(name)
            if logger is not None:
                logger.emit(self._translate(record))
        except Exception:  # noqa: BLE001
            self.handleError(record)
        finally:
            self._is_emitting.reset(token)
        if record.levelno >= logging.WARNING and logging.lastResort is not None and _alone(name):
            logging.lastResort.handle(record)  # as Python does where nobody configured logging

    def flush(self) -> None:
        """Do nothing: ``logging.shutdown`` would start a thread, and the exit hooks flush."""

    def _logger(self, name: str) -> Any:
        loggers: dict[str, Any] = self.__dict__.setdefault("_loggers", {})
        try:
            return loggers[name]
        except KeyError:
            if len(loggers) > _LOGGERS_MAX:
                loggers.clear()
            logger = get_logger(name, logger_provider=self._logger_provider)
            found = loggers[name] = None if isinstance(logger, NoOpLogger) else logger
            return found

    def _get_attributes(self, record: logging.LogRecord) -> tuple[dict[str, Any], str | None]:
        attributes, event_name = super()._get_attributes(record)
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exception.type"] = type_name(record.exc_info[0])
            attributes["exception.message"] = str(record.exc_info[1])
        return attributes, event_name

    def _translate(self, record: logging.LogRecord) -> LogRecord:
        if len(record.__dict__) == _PLAIN and not record.exc_info and not self._log_code_attributes:
            attributes: dict[str, Any] = {}
            event_name = None
        else:
            attributes, event_name = self._get_attributes(record)
        level = record.levelno
        return LogRecord(
            timestamp=int(record.created * 1e9),
            observed_timestamp=time_ns(),
            context=get_current() or None,
            severity_text=_TEXTS.get(record.levelname, record.levelname),
            severity_number=std_to_otel(level) if level >= _DEBUG else severity(None, f"Level {level}"),
            body=self.format(record) if self.formatter else record.getMessage(),
            attributes=attributes,
            event_name=event_name,
        )


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
