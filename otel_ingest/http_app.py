"""Step 1, OTLP/HTTP: POST /v1/logs, /v1/traces, /v1/metrics in the words of HTTP."""

import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from otel_ingest import errors
from otel_ingest.answers import answer_of
from otel_ingest.body import in_time, read_body
from otel_ingest.budget import Budget
from otel_ingest.connections import TransportServer
from otel_ingest.exports import Exports
from otel_ingest.http1 import Connection, HttpRequest
from otel_ingest.levels import CONFIGURATION_HEADER
from otel_ingest.limits import Limits
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding, encoding_of
from otel_ingest.wire.codings import SUPPORTED
from otel_ingest.wire.status import encode_status, status_message

Serve = Callable[[HttpRequest], Coroutine[Any, Any, None]]

_BY_PATH = {signal.path: signal for signal in SIGNALS}


def build_http_server(
    serve: Serve, limits: Limits, budget: Budget, sock: socket.socket, tls: ssl.SSLContext | None = None
) -> TransportServer:
    """Return a server on a bound socket that is not started yet."""
    return TransportServer(
        sock, lambda server: Connection(server, budget, serve), connections_max=limits.connections_max, tls=tls
    )


def http_app(exports: Exports, limits: Limits) -> Serve:
    """Return what answers an export."""

    async def serve(request: HttpRequest) -> None:
        await exports.serve(_HttpCall(request, limits))

    return serve


class _HttpCall:
    """One request, see ``exports.Call``."""

    transport = "http"

    def __init__(self, request: HttpRequest, limits: Limits) -> None:
        self.request = request
        self._limits = limits

    def signal(self) -> Signal:
        path = self.request.path
        signal = _BY_PATH.get(path) or _BY_PATH.get(path.rstrip("/"))
        if signal is None:
            raise errors.UnknownPath(f"nothing at {path[:200]}; OTLP is at {', '.join(_BY_PATH)}")
        if self.request.method != b"POST":
            raise errors.MethodNotAllowed(f"{self.request.method.decode()} is not allowed; exports are POST")
        return signal

    def encoding(self) -> Encoding:
        return encoding_of(self.request.text(b"content-type") or "")

    async def body(self) -> bytes:
        limits, declared = self._limits, self.request.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limits.body_bytes_max:
            text = f"the body has {declared.decode()} bytes, the limit is {limits.body_bytes_max}"
            raise errors.RequestTooLarge(text)
        coding = self.request.text(b"content-encoding") or "identity"
        return await in_time(
            self.request, read_body(self.request, coding, limits.body_bytes_max), limits.body_timeout_s
        )

    async def answer(self, body: bytes, configuration: str | None) -> None:
        known = ((CONFIGURATION_HEADER, configuration),) if configuration else ()
        self.request.respond(200, self.encoding().value, body, known)

    async def fail(self, error: errors.IngestError) -> None:
        try:
            encoding = self.encoding()
        except errors.UnsupportedEncoding:
            encoding = Encoding.JSON
        respond_error(self.request, error, encoding)


def respond_error(request: HttpRequest, error: errors.IngestError, encoding: Encoding) -> None:
    """Answer with an error: a google.rpc.Status, and the headers HTTP has for it. Raises PeerGoneError."""
    answer = answer_of(error)
    headers = []
    if answer.retry_s is not None:
        headers.append(("retry-after", str(answer.retry_s)))
    if isinstance(error, errors.MethodNotAllowed):
        headers.append(("allow", "POST"))
    if isinstance(error, errors.Unauthenticated):
        headers.append(("www-authenticate", 'Bearer realm="otel-ingest"'))
    if isinstance(error, errors.UnsupportedEncoding):
        if error.header == "Content-Encoding":
            headers.append(("accept-encoding", ", ".join(SUPPORTED)))
        else:
            headers.append(("accept-post", ", ".join(e.value for e in Encoding)))
    field = error.field if isinstance(error, errors.MalformedRequest) else None
    body = encode_status(status_message(answer.grpc, str(error), field=field, retry_s=answer.retry_s), encoding)
    request.respond(answer.http, encoding.value, body, headers, close=isinstance(error, errors.SenderTooSlow))
