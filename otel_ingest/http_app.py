"""Step 1, OTLP/HTTP: POST /v1/logs, /v1/traces, /v1/metrics. Thin: headers, body, one call, answer.

A plain ASGI application with Starlette's headers and responses: SDKs send thousands of small requests, and routing
three paths needs no router.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from otel_ingest import errors
from otel_ingest.answers import answer_of
from otel_ingest.body import Body
from otel_ingest.budget import Budget, Lease
from otel_ingest.ingest import BATCH_ID_HEADER, ExportResult, Ingest
from otel_ingest.levels import CONFIGURATION_HEADER, ConfigurationHash, no_configuration
from otel_ingest.limits import Limits
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding, encoding_of
from otel_ingest.wire.codings import SUPPORTED
from otel_ingest.wire.status import encode_response, encode_status, status_message

Authorize = Callable[[str | None], Awaitable[None]]
"""Takes the Authorization header; raises Unauthenticated or PermissionDenied, or StoreUnavailable."""

_BY_PATH = {signal.path: signal for signal in SIGNALS}


class HttpApp:
    """The receiver's ASGI application."""

    def __init__(
        self,
        ingest: Ingest,
        authorize: Authorize,
        limits: Limits,
        budget: Budget,
        configuration_hash: ConfigurationHash = no_configuration,
    ) -> None:
        self._ingest = ingest
        self._authorize = authorize
        self._limits = limits
        self._budget = budget
        self._configuration_hash = configuration_hash

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        headers = Headers(scope=scope)
        encoding = _answer_encoding(headers)
        lease = self._budget.lease()
        signal: Signal | None = None
        reading = True
        try:
            signal = _route(scope)
            await self._authorize(headers.get("authorization"))
            encoding = encoding_of(headers.get("content-type", ""))
            body = await self._body(headers, receive, lease)
            reading = False
            result = await self._export(signal, body, encoding, lease, headers.get(BATCH_ID_HEADER, ""))
            content = encode_response(signal, encoding, result.rejected, result.message)
            known = self._configuration_hash(result.component)
            response = Response(content, 200, {CONFIGURATION_HEADER: known} if known else None, encoding.value)
        except errors.IngestError as error:
            if reading and signal is not None:
                self._ingest.turned_away(signal, "http", error)
            response = error_response(error, encoding)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - a bug of ours is told as one, and its sender tries again
            response = error_response(self._ingest.unexpected(signal, "http", error), encoding)
        finally:
            lease.release()
        await response(scope, receive, send)

    async def _export(
        self, signal: Signal, body: bytes, encoding: Encoding, lease: Lease, batch_id: str
    ) -> ExportResult:
        """Export in a task of its own: uvicorn cancels those it knows when it has no more time to stop."""
        work = asyncio.create_task(self._ingest.export(signal, body, encoding, "http", lease.move(), batch_id))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(work)

    async def _body(self, headers: Headers, receive: Receive, lease: Lease) -> bytes:
        """Return the decompressed body, charged to the budget and held to its limit while it arrives."""
        limit = self._limits.body_bytes_max
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise errors.RequestTooLarge(f"the body has {declared} bytes, the limit is {limit}")
        body = Body(headers.get("content-encoding", "identity"), limit, lease)
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    await body.feed(message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise errors.SenderTooSlow(f"the body was not whole after {self._limits.body_timeout_s:g} s") from error
        return body.finish()


def _route(scope: Scope) -> Signal:
    path = scope["path"]
    signal = _BY_PATH.get(path) or _BY_PATH.get(path.rstrip("/"))
    if signal is None:
        raise errors.UnknownPath(f"nothing at {path[:200]}; OTLP is at {', '.join(_BY_PATH)}")
    if scope["method"] != "POST":
        raise errors.MethodNotAllowed(f"{scope['method']} is not allowed; exports are POST")
    return signal


def _answer_encoding(headers: Headers) -> Encoding:
    """Return the encoding for an answer: the request's, or JSON where it names none that is known."""
    try:
        return encoding_of(headers.get("content-type", ""))
    except errors.UnsupportedEncoding:
        return Encoding.JSON


def error_response(error: errors.IngestError, encoding: Encoding) -> Response:
    """Return the answer to an error: a google.rpc.Status, and the headers HTTP has for it."""
    answer = answer_of(error)
    headers = {}
    if answer.retry_s is not None:
        headers["Retry-After"] = str(answer.retry_s)
    if isinstance(error, errors.MethodNotAllowed):
        headers["Allow"] = "POST"
    if isinstance(error, errors.SenderTooSlow):
        headers["Connection"] = "close"
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="otel-ingest"'
    if isinstance(error, errors.UnsupportedEncoding):
        if error.header == "Content-Encoding":
            headers["Accept-Encoding"] = ", ".join(SUPPORTED)
        else:
            headers["Accept-Post"] = ", ".join(e.value for e in Encoding)
    field = error.field if isinstance(error, errors.MalformedRequest) else None
    status = status_message(answer.grpc, str(error), field=field, retry_s=answer.retry_s)
    return Response(encode_status(status, encoding), answer.http, headers, media_type=encoding.value)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
