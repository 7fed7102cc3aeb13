"""Defaults, and nothing else: whatever the environment says already stays."""

import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # not in its __all__
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

NAME = "otel_ingest"
DEFAULTS = {
    "OTEL_TRACES_EXPORTER": NAME,
    "OTEL_METRICS_EXPORTER": NAME,
    "OTEL_LOGS_EXPORTER": NAME,
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "host,os",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",  # milliseconds: what a kill -9 loses with the spool always on
    "OTEL_BLRP_MAX_QUEUE_SIZE": "65536",  # records: a burst of seconds, some 100 MB when it is full
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BSP_MAX_QUEUE_SIZE": "32768",
}


def set_defaults() -> None:
    """Set what is unset; an exporter named ``otlp`` is ours, which speaks OTLP: redacted and kept."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    for signal in ("TRACES", "METRICS", "LOGS"):
        name = f"OTEL_{signal}_EXPORTER"
        parts = [NAME if part.strip() == "otlp" else part for part in os.environ[name].split(",")]
        os.environ[name] = ",".join(parts)


class OtelIngestDistro(BaseDistro):  # type: ignore[misc]
    """The distribution that ``opentelemetry-instrument`` finds."""

    def _configure(self, **kwargs: Any) -> None:  # noqa: ARG002
        set_defaults()


class OtelIngestConfigurator(_OTelSDKConfigurator):
    """The SDK's own configuration, under our name: without a configurator nothing would be configured."""
