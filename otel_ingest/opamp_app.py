"""The door of OpAMP: POST /v1/opamp beside the exports. Thin: token, headers, body, one call, answer."""

import asyncio
import re

from otel_ingest import errors
from otel_ingest.body import in_time, read_body
from otel_ingest.exports import Authorize
from otel_ingest.http1 import HttpRequest
from otel_ingest.http_app import Serve, respond_error
from otel_ingest.opamp import BODY_BYTES_MAX, PATH, Exchanged, OpampServer
from otel_ingest.request import PeerGoneError
from otel_ingest.wire import Encoding

# A message is a few hundred bytes; who needs longer for it is gone.
BODY_TIMEOUT_S = 10.0
_PREFER_CHARS_MAX = 200
_MEDIA_TYPE = Encoding.PROTOBUF.value
# RFC 7240: how long the client would wait for an answer. What was done about it stands in Preference-Applied.
_WAIT = re.compile(r"""(?:^|,)\s*wait\s*=\s*"?([0-9]{1,6})"?\s*(?=[,;]|$)""", re.IGNORECASE)


class OpampApp:
    """Answers /v1/opamp; every other path is ``exports``'."""

    def __init__(self, exports: Serve, server: OpampServer, authorize: Authorize) -> None:
        self._exports = exports
        self._server = server
        self._authorize = authorize

    async def serve(self, request: HttpRequest) -> None:
        """Answer one request. Raises PeerGoneError: nobody is there to be answered."""
        if request.path.rstrip("/") != PATH:
            await self._exports(request)
            return
        try:
            answer, wish = await self._answer(request)
        except errors.IngestError as error:
            respond_error(request, error, Encoding.PROTOBUF)
        else:
            applied = (("preference-applied", f"wait={wish}"),) if answer.held else ()
            request.respond(200, _MEDIA_TYPE, answer.body, applied)

    async def _answer(self, request: HttpRequest) -> tuple[Exchanged, str]:
        """Return the answer, and the seconds that the sender would wait for it."""
        if request.method != b"POST":
            raise errors.MethodNotAllowed(f"{request.method.decode()} is not allowed; OpAMP messages are POST")
        await self._authorize(request.text(b"authorization"))
        media_type = (request.text(b"content-type") or "").partition(";")[0].strip().lower()
        if media_type != _MEDIA_TYPE:
            raise errors.UnsupportedEncoding(
                f"Content-Type {media_type[:100]!r} is not taken; send {_MEDIA_TYPE}", header="Content-Type"
            )
        coding = request.text(b"content-encoding") or "identity"
        body = await in_time(request, read_body(request, coding, BODY_BYTES_MAX), BODY_TIMEOUT_S)
        wish = _WAIT.search((request.text(b"prefer") or "")[:_PREFER_CHARS_MAX])
        if wish is None:
            return await self._server.exchange(body), ""
        return await self._held(request, body, float(wish[1])), wish[1]

    async def _held(self, request: HttpRequest, body: bytes, wait_s: float) -> Exchanged:
        """Return the answer of a message that may wait. Raises PeerGoneError when its sender does not any more."""
        answer = asyncio.create_task(self._server.exchange(body, wait_s))
        gone = asyncio.create_task(request.gone())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise PeerGoneError
            return answer.result()
        finally:
            answer.cancel()
            gone.cancel()
