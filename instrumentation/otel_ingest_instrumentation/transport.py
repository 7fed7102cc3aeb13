"""Where batches go: the standard's variables turned into a transport for one signal."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.util.re import parse_env_headers

from otel_ingest_instrumentation import loud
from otel_ingest_instrumentation.outcome import Batch, Outcome, Verdict

BATCH_ID_HEADER = "x-otel-ingest-batch-id"
CONFIG_HEADER = "x-otel-ingest-config"
USER_AGENT = "otel-ingest-instrumentation/0.1.0"
TIMEOUT_S = 10.0  # the standard's default of OTEL_EXPORTER_OTLP_TIMEOUT


@dataclass(frozen=True, slots=True)
class Target:
    """One signal's endpoint as OTEL_EXPORTER_OTLP_* describe it; seconds, and paths of PEM files."""

    protocol: str
    endpoint: str
    headers: Mapping[str, str]
    timeout_s: float
    compression: str
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    insecure: bool


class Transport(Protocol):
    """One try to send a batch; the answer's ``x-otel-ingest-config`` header is in ``config`` afterwards."""

    config: str | None

    def send(self, batch: Batch, timeout_s: float | None = None) -> Outcome:
        """Send once; never raises."""

    def reset_after_fork(self) -> None:
        """Forget the parent's connections."""


class NoTransport:
    """Stands where the one asked for cannot be made: every batch waits for better days."""

    config: str | None = None

    def __init__(self, reason: str) -> None:
        """``reason`` is what each try answers."""
        self._reason = reason

    def send(self, batch: Batch, timeout_s: float | None = None) -> Outcome:  # noqa: ARG002  # the contract's
        """Answer that nothing can be sent."""
        return Outcome(Verdict.RETRY, self._reason)

    def reset_after_fork(self) -> None:
        """Nothing to forget."""


def target(signal: str, environ: Mapping[str, str] | None = None) -> Target:
    """Return where a signal goes: its own variables first, then the common ones, then the standard's defaults."""
    env = os.environ if environ is None else environ

    def read(name: str, default: str | None = None) -> str | None:
        own = env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", "").strip()
        return own or env.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip() or default

    protocol = read("PROTOCOL", "http/protobuf") or ""
    if protocol not in ("http/protobuf", "grpc"):
        loud.say(f"OTLP protocol {protocol!r} is not spoken here, http/protobuf is used")
        protocol = "http/protobuf"
    own_endpoint = env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    base = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    if protocol == "grpc":
        endpoint = own_endpoint or base or "http://localhost:4317"
    else:
        endpoint = own_endpoint or f"{(base or 'http://localhost:4318').rstrip('/')}/v1/{signal}"
    raw_timeout = read("TIMEOUT", str(TIMEOUT_S)) or ""
    try:
        timeout_s = float(raw_timeout)
    except ValueError:
        loud.say(f"OTEL_EXPORTER_OTLP_TIMEOUT={raw_timeout} is no number; {TIMEOUT_S:g} s hold")
        timeout_s = TIMEOUT_S
    return Target(
        protocol=protocol,
        endpoint=endpoint,
        headers=parse_env_headers(read("HEADERS", "") or "", liberal=True),
        timeout_s=timeout_s,
        compression=(read("COMPRESSION", "none") or "none").lower(),
        certificate=read("CERTIFICATE"),
        client_certificate=read("CLIENT_CERTIFICATE"),
        client_key=read("CLIENT_KEY"),
        insecure=(read("INSECURE", "false") or "").lower() == "true",
    )


def transport(signal: str) -> Transport:
    """Return the transport that the environment asks for."""
    wanted = target(signal)
    try:
        if wanted.protocol == "grpc":
            from otel_ingest_instrumentation.transport_grpc import GrpcTransport  # noqa: PLC0415  # grpcio is optional

            return GrpcTransport(signal, wanted)
        from otel_ingest_instrumentation.transport_http import HttpTransport  # noqa: PLC0415

        return HttpTransport(signal, wanted)
    except ImportError as error:
        loud.say(f"OTEL_EXPORTER_OTLP_PROTOCOL={wanted.protocol}: {error}; what is recorded goes to the local spool")
        return NoTransport(str(error))
    except (ValueError, OSError) as error:
        loud.say(f"OTLP endpoint {wanted.endpoint}: {error}; what is recorded goes to the local spool")
        return NoTransport(str(error))
