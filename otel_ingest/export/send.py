"""Requests -> any OTLP endpoint, over HTTP or gRPC, with the retries the specification asks of an exporter.

Retried: connection errors, HTTP 429/502/503/504 and the gRPC codes of the specification, with exponential backoff and
jitter, the server's own Retry-After or RetryInfo first. Refused as too large: sent in halves. Anything else ends it.
"""

import asyncio
import gzip
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from google.rpc.status_pb2 import Status

from otel_ingest.export.errors import MissingLibraryError, SendError, TooLargeError, TryLaterError
from otel_ingest.signals import Signal

# One try; a receiver that takes longer to store 512 records is stuck.
TRY_TIMEOUT_S = 30.0
# All tries of one request; an endpoint that is away for longer is for the operator to look at.
RETRY_S = 300.0
_BACKOFF_S, _BACKOFF_S_MAX = 1.0, 30.0
_RETRYABLE_HTTP = frozenset({429, 502, 503, 504})
_TOO_LARGE_HTTP = 413


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a request: how many records its receiver rejected, and its words about it."""

    rejected: int = 0
    message: str = ""


class Sender:
    """Sends to one endpoint: http://, https://, grpc:// or grpcs://host:port. An async context manager."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], retry_s: float = RETRY_S) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https", "grpc", "grpcs"} or not parts.netloc:
            raise SendError(f"{endpoint!r} is no OTLP endpoint; for example http://127.0.0.1:4318 or grpc://host:4317")
        self._parts = parts
        self._headers = dict(headers)
        self._retry_s = retry_s
        self._http: Any = None
        self._grpc: Any = None

    async def __aenter__(self) -> Self:
        if self._parts.scheme in {"http", "https"}:
            self._http = httpx2.AsyncClient(timeout=TRY_TIMEOUT_S, follow_redirects=False)
        else:
            self._grpc = _grpc_channel(self._parts.netloc, tls=self._parts.scheme == "grpcs")
        return self

    async def __aexit__(self, *_: object) -> None:
        await (self._http.aclose() if self._http is not None else self._grpc.close())

    async def send(self, signal: Signal, request: Any) -> Sent:
        """Return once the endpoint took the request. Raises SendError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._retry_s
        backoff = _BACKOFF_S
        while True:
            try:
                return await self._try(signal, request.SerializeToString())
            except TooLargeError:
                return await self._halves(signal, request)
            except TryLaterError as error:
                delay = error.delay_s if error.delay_s is not None else random.uniform(0, backoff)  # noqa: S311
                backoff = min(backoff * 2, _BACKOFF_S_MAX)
                if loop.time() + delay > deadline:
                    raise SendError(
                        f"{self._parts.geturl()} did not take it in {self._retry_s:.0f} s: {error}"
                    ) from error
            await asyncio.sleep(delay)

    async def _halves(self, signal: Signal, request: Any) -> Sent:
        sent = [await self.send(signal, half) for half in _split(request)]
        return Sent(sum(s.rejected for s in sent), "; ".join(s.message for s in sent if s.message))

    async def _try(self, signal: Signal, body: bytes) -> Sent:
        if self._http is not None:
            answer = await self._post(signal, body)
        else:
            answer = await self._grpc.call(signal, body, self._headers, TRY_TIMEOUT_S)
        response = signal.response_type.FromString(answer)
        return Sent(getattr(response.partial_success, signal.rejected_field), response.partial_success.error_message)

    async def _post(self, signal: Signal, body: bytes) -> bytes:
        headers = self._headers | {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        url = self._parts.geturl().rstrip("/") + signal.path
        try:
            response = await self._http.post(url, content=gzip.compress(body, 1), headers=headers)
        except httpx2.TransportError as error:
            raise TryLaterError(str(error) or type(error).__name__, None) from error
        if response.is_success:
            return bytes(response.content)
        why = f"HTTP {response.status_code} {_words(response.content)}"
        if response.status_code == _TOO_LARGE_HTTP:
            raise TooLargeError(why)
        if response.status_code in _RETRYABLE_HTTP:
            after = response.headers.get("retry-after", "")
            raise TryLaterError(why, float(after) if after.isdigit() else None)
        raise SendError(f"{url} refused it: {why}")


def _grpc_channel(target: str, *, tls: bool) -> Any:
    """Return a channel. Raises MissingLibraryError where grpcio, which the receiver itself does without, is missing."""
    try:
        from otel_ingest.export.grpc_channel import GrpcChannel  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingLibraryError("grpc:// needs grpcio: pip install 'otel-ingest[grpc]'") from error
    return GrpcChannel(target, tls=tls)


def _words(content: bytes) -> str:
    """Return what an error body says: a Status's message, or the beginning of the text."""
    try:
        return str(Status.FromString(content).message)
    except ValueError:
        return content[:200].decode("utf-8", "replace")


def _split(request: Any) -> list[Any]:
    """Return a request in two halves of its records. Raises SendError for one that cannot be split."""
    groups = request.ListFields()[0][0].name
    scopes = getattr(request, groups)[0].DESCRIPTOR.fields_by_number[2].name
    flat = []
    for group in getattr(request, groups):
        for envelope in getattr(group, scopes):
            records = envelope.DESCRIPTOR.fields_by_number[2].name
            flat += [(group, envelope, records, record) for record in getattr(envelope, records)]
    if len(flat) < 2:  # noqa: PLR2004
        raise SendError("the endpoint refused one record as too large")
    middle = len(flat) // 2
    return [_joined(type(request), groups, scopes, part) for part in (flat[:middle], flat[middle:])]


def _joined(request_type: Any, groups: str, scopes: str, flat: list[Any]) -> Any:
    request = request_type()
    last: Any = (None, None)
    into: Any = None
    for group, envelope, records, record in flat:
        if last != (id(group), id(envelope)):
            new = getattr(request, groups).add(schema_url=group.schema_url)
            if group.HasField("resource"):
                new.resource.CopyFrom(group.resource)
            into = getattr(new, scopes).add(schema_url=envelope.schema_url)
            if envelope.HasField("scope"):
                into.scope.CopyFrom(envelope.scope)
            last = id(group), id(envelope)
        getattr(into, records).add().CopyFrom(record)
    return request
