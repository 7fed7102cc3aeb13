"""What frameworks undo, redone: loggers that do not propagate, and Celery's taking over of the root.

Each repair waits for its library to be imported by the application; none imports a library by itself.
"""

import logging
import logging.config
from collections.abc import Callable
from typing import Any

import wrapt

from otel_ingest_instrumentation import bridges, guard
from otel_ingest_instrumentation.handler import Handler

_CUT_OFF = ("uvicorn", "gunicorn", "celery")  # loggers that get their handlers before or after they are cut off


def repair(handler: Handler) -> None:
    """Attach the handler to the root and to every logger that was cut off from it by ``propagate = False``."""
    root = logging.getLogger()
    if handler not in root.handlers:
        root.addHandler(handler)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if not isinstance(logger, logging.Logger) or logger.propagate or handler in logger.handlers:
            continue
        if guard.is_own(name) or name.startswith("opentelemetry"):
            continue
        if logger.handlers or name.startswith(_CUT_OFF):
            logger.addHandler(handler)


def install(handler: Handler) -> None:
    """Repair now, after each configuration of logging, and when a library known to undo it is imported."""
    repair(handler)
    for name in ("dictConfig", "fileConfig"):
        setattr(logging.config, name, _then(getattr(logging.config, name), lambda: repair(handler)))
    wrapt.register_post_import_hook(lambda module: _gunicorn(module, handler), "gunicorn.glogging")
    wrapt.register_post_import_hook(lambda module: _celery(module, handler), "celery.signals")
    wrapt.register_post_import_hook(lambda module: bridges.loguru(module, handler.handle), "loguru")
    wrapt.register_post_import_hook(lambda module: bridges.structlog(module, handler.handle), "structlog")


def _then(call: Callable[..., Any], after: Callable[[], None]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        finally:
            after()

    return wrapped


def _gunicorn(module: Any, handler: Handler) -> None:
    """Repair after gunicorn gave its loggers handlers of their own and cut them off."""
    module.Logger.setup = _then(module.Logger.setup, lambda: repair(handler))


def _celery(module: Any, handler: Handler) -> None:
    """Repair after a Celery worker removed all handlers of the root and cut celery.task off."""

    def again(**_: Any) -> None:
        repair(handler)

    for name in ("after_setup_logger", "after_setup_task_logger"):
        getattr(module, name).connect(again, weak=False)
