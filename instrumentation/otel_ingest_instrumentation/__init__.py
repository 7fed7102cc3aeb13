"""OpenTelemetry for an application by its environment alone; imports nothing else of the project.

record ─handler─▶ queue ─batch─▶ exporter (copy, redact, encode) ─▶ delivery (one try, memory, spool) ─OTLP─▶ receiver
"""

import os

__all__ = ["configure"]


def configure(service: str | None = None, endpoint: str | None = None) -> None:
    """Do in code what ``opentelemetry-instrument`` does around a program: call it first, once, in the main thread.

    ``service`` and ``endpoint`` stand for OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_ENDPOINT where those are unset.
    """
    from opentelemetry.instrumentation.auto_instrumentation import initialize  # noqa: PLC0415  # heavy, and not for all

    for name, value in (("OTEL_SERVICE_NAME", service), ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)):
        if value is not None:
            os.environ.setdefault(name, value)
    os.environ.setdefault("OTEL_PYTHON_DISTRO", "otel_ingest")
    initialize()
