"""Loggers that know nothing of the standard library, handed to the same handler: loguru, and structlog that prints."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from otel_ingest_instrumentation import taps

_STRUCTLOG_LEVELS = {
    "trace": 5,
    "debug": 10,
    "info": 20,
    "warning": 30,
    "warn": 30,
    "error": 40,
    "exception": 40,
    "critical": 50,
}
_STRUCTLOG_OWN = frozenset({"event", "timestamp", "level", "logger", "exc_info"})

Deliver = Callable[[logging.LogRecord], Any]


def _wanted(name: str, level: int) -> bool:
    """Return whether the standard library's logger of that name lets a level through: one place to set levels."""
    return level >= logging.getLogger(name).getEffectiveLevel() or taps.wanted(name, level)


def _record(name: str, level: int, message: str, extra: dict[str, Any], exc_info: Any) -> logging.LogRecord:
    record = logging.LogRecord(name, level, "", 0, message, (), exc_info)
    record.__dict__.update({key: value for key, value in extra.items() if key not in record.__dict__})
    return record


def loguru(module: Any, deliver: Deliver) -> None:
    """Add a sink, and add it again where the application removes all of them."""
    logger = module.logger

    def sink(message: Any) -> None:
        r = message.record
        name = r["name"] or "loguru"
        if not _wanted(name, r["level"].no):
            return
        error = r["exception"]
        exc_info = (error.type, error.value, error.traceback) if error is not None else None
        record = _record(name, r["level"].no, r["message"], dict(r["extra"]), exc_info)
        record.created = r["time"].timestamp()
        record.levelname = r["level"].name
        deliver(record)

    def add() -> None:
        logger.add(sink, level=0, format="{message}", catch=True)

    kind = type(logger)
    remove = kind.remove

    def remove_but_ours(self: Any, handler_id: int | None = None) -> None:
        remove(self, handler_id)
        if handler_id is None:
            add()

    add()
    kind.remove = remove_but_ours


def structlog(module: Any, deliver: Deliver) -> None:
    """Put a processor before the one that renders; on the standard library's loggers it does nothing."""

    def bridge(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        name = str(event.get("logger") or "structlog")
        level = _STRUCTLOG_LEVELS.get(method, logging.INFO)
        if not isinstance(logger, logging.Logger) and _wanted(name, level):
            extra = {key: value for key, value in event.items() if key not in _STRUCTLOG_OWN}
            deliver(_record(name, level, str(event.get("event", "")), extra, _exc_info(event.get("exc_info"))))
        return event

    def with_bridge(processors: Any) -> list[Any]:
        kept = [p for p in processors if p is not bridge]
        renders = (i for i, p in enumerate(kept) if type(p).__name__ == "ExceptionRenderer")
        place = next(renders, max(0, len(kept) - 1))
        return [*kept[:place], bridge, *kept[place:]]

    def patched(configure: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(processors: Any = None, *args: Any, **kwargs: Any) -> Any:
            return configure(with_bridge(processors) if processors else processors, *args, **kwargs)

        return wrapped

    config = module._config  # noqa: SLF001  # there is no public way to the defaults that does not mark it configured
    config._CONFIG.default_processors = with_bridge(config._CONFIG.default_processors)  # noqa: SLF001
    for holder in (module, config):
        for name in ("configure", "configure_once"):
            setattr(holder, name, patched(getattr(holder, name)))


def _exc_info(value: Any) -> Any:
    if isinstance(value, BaseException):
        return type(value), value, value.__traceback__
    if value is True:
        return sys.exc_info()
    return value if isinstance(value, tuple) else None
