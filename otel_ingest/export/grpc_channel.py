"""OTLP/gRPC as a client; needs grpcio, which the receiver itself does without."""

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from otel_ingest.export.errors import SendError, TooLargeError, TryLaterError
from otel_ingest.signals import Signal

_RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class GrpcChannel:
    """Calls Export at ``target`` (host:port)."""

    def __init__(self, target: str, *, tls: bool) -> None:
        self._target = target
        credentials = grpc.ssl_channel_credentials() if tls else None
        self._channel = aio.secure_channel(target, credentials) if tls else aio.insecure_channel(target)

    async def close(self) -> None:
        """Close it."""
        await self._channel.close()

    async def call(self, signal: Signal, body: bytes, headers: Mapping[str, str], timeout_s: float) -> bytes:
        """Return the answer. Raises TryLaterError, TooLargeError, SendError."""
        method = self._channel.unary_unary(f"/{signal.service}/Export")
        metadata = [(name.lower(), value) for name, value in headers.items()]
        try:
            return bytes(await method(body, timeout=timeout_s, metadata=metadata, compression=grpc.Compression.Gzip))
        except aio.AioRpcError as error:
            why, delay_s = f"{error.code().name} {error.details()}", _retry_delay_s(error)
            if error.code() in _RETRYABLE or delay_s is not None:
                raise TryLaterError(why, delay_s) from error
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise TooLargeError(why) from error
            raise SendError(f"grpc://{self._target} refused it: {why}") from error


def _retry_delay_s(error: Any) -> float | None:
    """Return the delay of a RetryInfo, None where there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None
