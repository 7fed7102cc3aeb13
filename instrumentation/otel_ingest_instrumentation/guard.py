"""No loops: what the exporting threads do themselves is never telemetry."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.instrumentation.utils import suppress_instrumentation

_local = threading.local()
OWN_LOGGERS = ("otel_ingest_instrumentation", "opentelemetry.exporter", "opentelemetry.sdk", "opentelemetry._opamp")
OWN_STARTS = frozenset(name[:4] for name in OWN_LOGGERS)  # one look for the many that are not

__all__ = ["OWN_LOGGERS", "OWN_STARTS", "exporting", "is_exporting", "is_own"]


@contextmanager
def exporting() -> Iterator[None]:
    """Mark this thread as exporting: spans of its libraries are suppressed, its log records are not exported."""
    before = getattr(_local, "exporting", False)
    _local.exporting = True
    try:
        with suppress_instrumentation():
            yield
    finally:
        _local.exporting = before


def is_exporting() -> bool:
    """Return whether this thread is exporting."""
    return getattr(_local, "exporting", False)


def is_own(name: str) -> bool:
    """Return whether a logger belongs to the pipe itself."""
    return name.startswith(OWN_LOGGERS)


def reset_after_fork() -> None:
    """Forget: a child forked by an exporting thread does the application's work."""
    _local.exporting = False
