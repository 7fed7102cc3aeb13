"""OTLP over gRPC, where grpcio is installed: one call a batch, bytes as they are."""

import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.rpc.error_details_pb2 import RetryInfo

from otel_ingest_instrumentation.outcome import GRPC_RETRY, Batch, Outcome, Verdict
from otel_ingest_instrumentation.transport import BATCH_ID_HEADER, CONFIG_HEADER, USER_AGENT, Target
from otel_ingest_instrumentation.transport_http import partial_success

_SERVICES = {"logs": "logs.v1.LogsService", "traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService"}
_STATUS_DETAILS = "google.rpc.retryinfo-bin"
_RICH_STATUS = "grpc-status-details-bin"


def _retry_info(metadata: Any) -> float | None:
    for key, value in metadata or ():
        if key == _STATUS_DETAILS:
            info = RetryInfo.FromString(value)
        elif key == _RICH_STATUS:
            from google.rpc.status_pb2 import Status  # noqa: PLC0415

            info = RetryInfo()
            if not any(detail.Unpack(info) for detail in Status.FromString(value).details):
                continue
        else:
            continue
        return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None


class GrpcTransport:
    """Keeps one channel, made at the first call: a channel does not live through a fork."""

    config: str | None = None

    def __init__(self, signal: str, target: Target) -> None:
        """``http://`` and OTEL_EXPORTER_OTLP_INSECURE are plain text, everything else is TLS."""
        self._signal = signal
        self._target = target
        self._call: Any = None
        self._lock = threading.Lock()

    def reset_after_fork(self) -> None:
        """Forget the parent's channel."""
        self._call = None
        self._lock = threading.Lock()

    def send(self, batch: Batch, timeout_s: float | None = None) -> Outcome:
        """Call once."""
        limit = min(self._target.timeout_s, timeout_s) if timeout_s is not None else self._target.timeout_s
        metadata = (*((k.lower(), v) for k, v in self._target.headers.items()), (BATCH_ID_HEADER, batch.id))
        try:
            answer, call = self._export().with_call(batch.body, timeout=limit, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code().name
            detail = f"{self._target.endpoint}: {code} {error.details()}"
            if code == "RESOURCE_EXHAUSTED" and "larger than max" in (error.details() or ""):
                return Outcome(Verdict.SPLIT, detail)
            if code in GRPC_RETRY:
                return Outcome(Verdict.RETRY, detail, _retry_info(error.trailing_metadata()))
            return Outcome(Verdict.REFUSED, detail)
        except ValueError as error:  # a closed channel
            self._call = None
            return Outcome(Verdict.RETRY, str(error))
        for key, value in (*call.initial_metadata(), *(call.trailing_metadata() or ())):
            if key == CONFIG_HEADER:
                self.config = value
        rejected, words = partial_success(self._signal, answer)
        return Outcome(Verdict.DELIVERED, words, rejected=rejected)

    def _export(self) -> Any:
        with self._lock:
            if self._call is None:
                channel = self._channel()
                self._call = channel.unary_unary(f"/opentelemetry.proto.collector.{_SERVICES[self._signal]}/Export")
            return self._call

    def _channel(self) -> Any:
        parts = urlsplit(self._target.endpoint)
        host = parts.netloc or parts.path
        compression = grpc.Compression.Gzip if self._target.compression == "gzip" else grpc.Compression.NoCompression
        options = (("grpc.primary_user_agent", USER_AGENT),)
        if parts.scheme == "http" or (parts.scheme != "https" and self._target.insecure):
            return grpc.insecure_channel(host, options=options, compression=compression)

        def read(path: str | None) -> bytes | None:
            return Path(path).read_bytes() if path else None

        t = self._target
        credentials = grpc.ssl_channel_credentials(read(t.certificate), read(t.client_key), read(t.client_certificate))
        return grpc.secure_channel(host, credentials, options=options, compression=compression)
