"""The door of OpAMP: POST /v1/opamp beside the exports. Thin: token, headers, body, one call, answer."""

import asyncio
import re

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_ingest import errors
from otel_ingest.http_app import Authorize, error_response
from otel_ingest.opamp import BODY_BYTES_MAX, PATH, Exchanged, OpampServer
from otel_ingest.wire import Encoding
from otel_ingest.wire.codings import Decompressor

# A message is a few hundred bytes; who needs longer for it is gone.
BODY_TIMEOUT_S = 10.0
_PREFER_CHARS_MAX = 200
_MEDIA_TYPE = Encoding.PROTOBUF.value
# RFC 7240: how long the client would wait for an answer. What was done about it stands in Preference-Applied.
_WAIT = re.compile(r"""(?:^|,)\s*wait\s*=\s*"?([0-9]{1,6})"?\s*(?=[,;]|$)""", re.IGNORECASE)


class OpampApp:
    """Answers /v1/opamp; every other path is ``exports``' (both ASGI 3)."""

    def __init__(self, exports: ASGIApp, server: OpampServer, authorize: Authorize) -> None:
        self._exports = exports
        self._server = server
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != PATH:
            await self._exports(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except errors.IngestError as error:
            response = error_response(error, Encoding.PROTOBUF)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            raise errors.MethodNotAllowed(f"{scope['method']} is not allowed; OpAMP messages are POST")
        headers = Headers(scope=scope)
        await self._authorize(headers.get("authorization"))
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _MEDIA_TYPE:
            raise errors.UnsupportedEncoding(
                f"Content-Type {media_type[:100]!r} is not taken; send {_MEDIA_TYPE}", header="Content-Type"
            )
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(Request(scope, receive), headers)
        except TimeoutError as error:
            raise errors.MalformedRequest(f"the body did not end within {BODY_TIMEOUT_S:.0f} s") from error
        wish = _WAIT.search(headers.get("prefer", "")[:_PREFER_CHARS_MAX])
        if wish is None:
            return Response((await self._server.exchange(body)).body, media_type=_MEDIA_TYPE)
        answer = await self._held(body, float(wish[1]), receive)
        applied = {"Preference-Applied": f"wait={wish[1]}"} if answer.held else None
        return Response(answer.body, headers=applied, media_type=_MEDIA_TYPE)

    async def _held(self, body: bytes, wait_s: float, receive: Receive) -> Exchanged:
        """Return the answer of a message that may wait. Raises ClientDisconnect when its sender does not any more."""
        answer = asyncio.create_task(self._server.exchange(body, wait_s))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            return answer.result()
        finally:
            answer.cancel()
            gone.cancel()


async def _gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request, headers: Headers) -> bytes:
    """Return the decompressed body. Raises RequestTooLarge, UnsupportedEncoding, MalformedRequest."""
    decompressor = Decompressor(headers.get("content-encoding", "identity"), BODY_BYTES_MAX)
    pieces = [piece async for chunk in request.stream() for piece in decompressor.feed(chunk)]
    decompressor.finish()
    return b"".join(pieces)
