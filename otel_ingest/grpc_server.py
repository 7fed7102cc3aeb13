"""Step 1, OTLP/gRPC: the three Export methods. Thin: headers, one message, one call, answer.

gRPC over HTTP/2 as https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md says; unary calls only. Authorised
before a byte of the message is read.
"""

import asyncio
import base64
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

from otel_ingest import errors
from otel_ingest.answers import answer_of
from otel_ingest.body import Body
from otel_ingest.budget import Budget
from otel_ingest.http2 import Http2Server
from otel_ingest.http2_stream import PeerGoneError, Stream
from otel_ingest.ingest import BATCH_ID_HEADER, Ingest
from otel_ingest.levels import CONFIGURATION_HEADER, ConfigurationHash
from otel_ingest.limits import Limits
from otel_ingest.signals import SIGNALS
from otel_ingest.wire import Encoding
from otel_ingest.wire.codings import SUPPORTED
from otel_ingest.wire.status import encode_response, encode_status, status_message

Authorize = Callable[[str | None], Awaitable[None]]

_BY_PATH = {f"/{signal.service}/Export".encode(): signal for signal in SIGNALS}
_CODINGS = ",".join(SUPPORTED).encode()
_HEADERS = ((b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-accept-encoding", _CODINGS))
_OK = ((b"grpc-status", b"0"),)
# One byte, compressed or not, and four of length stand before a message.
_PREFIX = struct.Struct(">BI")
# Clients take 8 KiB of trailers; the text is in them twice, once in base64.
_MESSAGE_CHARS_MAX = 1_000
_UNIMPLEMENTED = 12


def build_grpc_server(
    ingest: Ingest,
    authorize: Authorize,
    limits: Limits,
    budget: Budget,
    configuration_hash: ConfigurationHash,
    sock: socket.socket,
    tls: ssl.SSLContext | None = None,
) -> Http2Server:
    """Return a server on a bound socket that is not started yet; ``tls`` must offer h2 by ALPN."""

    async def serve(stream: Stream) -> None:
        await _Call(ingest, authorize, limits, configuration_hash, stream).run()

    return Http2Server(sock, budget, serve, connections_max=limits.connections_max, tls=tls)


class _Call:
    """One call of an Export method."""

    def __init__(
        self,
        ingest: Ingest,
        authorize: Authorize,
        limits: Limits,
        configuration_hash: ConfigurationHash,
        stream: Stream,
    ) -> None:
        self._ingest = ingest
        self._authorize = authorize
        self._limits = limits
        self._configuration_hash = configuration_hash
        self._stream = stream
        self._header = stream.headers.get

    async def run(self) -> None:
        """Answer it, whatever happens. Raises PeerGoneError: nobody is there to be answered."""
        if not self._header(b"content-type", b"").startswith(b"application/grpc"):
            await self._stream.respond([(b":status", b"415")])
            return
        signal = _BY_PATH.get(self._header(b":path", b""))
        if signal is None:
            await self._fail(errors.UnknownPath("only the Export methods of logs, traces and metrics are here"))
            return
        reading = True
        try:
            await self._authorize(self._text(b"authorization"))
            body = await self._message()
            reading = False
            batch_id = self._text(BATCH_ID_HEADER.encode()) or ""
            result = await self._ingest.export(signal, body, Encoding.PROTOBUF, "grpc", self._stream.lease, batch_id)
        except errors.IngestError as error:
            if reading:
                self._ingest.turned_away(signal, "grpc", error)
            await self._fail(error)
        except PeerGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours is told as one, and its sender tries again
            await self._fail(self._ingest.unexpected(signal, "grpc", error))
        else:
            message = encode_response(signal, Encoding.PROTOBUF, result.rejected, result.message)
            await self._answer(message, self._configuration_hash(result.component))

    async def _message(self) -> bytes:
        """Return the one message of the request, decompressed, charged and held to its limits while it arrives."""
        if self._stream.is_whole:
            return await self._read()
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                return await self._read()
        except TimeoutError as error:
            raise errors.SenderTooSlow(f"the message was not whole after {self._limits.body_timeout_s:g} s") from error

    async def _read(self) -> bytes:
        prefix, chunk = await self._prefix()
        compressed, length = _PREFIX.unpack(prefix)
        if not compressed and length > self._limits.body_bytes_max:
            raise errors.RequestTooLarge(f"the message has {length} bytes, the limit is {self._limits.body_bytes_max}")
        coding = self._text(b"grpc-encoding") or "identity"
        if compressed and coding == "identity":
            raise errors.MalformedRequest("the message is marked as compressed, and grpc-encoding names no coding")
        body = Body(coding if compressed else "identity", self._limits.body_bytes_max, self._stream.lease)
        received = 0
        while True:
            received += len(chunk)
            if received > length:
                raise errors.MalformedRequest("Export takes one message, there is more after it")
            await body.feed(chunk)
            piece = await self._stream.read()
            if piece is None:
                break
            chunk = piece
        if received < length:
            raise errors.MalformedRequest(f"the message ends after {received} of {length} bytes")
        return body.finish()

    async def _prefix(self) -> tuple[bytes, bytes]:
        """Return the prefix of the message, and what came with it."""
        data = b""
        while len(data) < _PREFIX.size:
            piece = await self._stream.read()
            if piece is None:
                raise errors.MalformedRequest("the call ends before its message")
            data += piece
        return data[: _PREFIX.size], data[_PREFIX.size :]

    async def _answer(self, message: bytes, configuration: str | None) -> None:
        known = ((CONFIGURATION_HEADER.encode(), configuration.encode()),) if configuration else ()
        await self._stream.respond(_HEADERS, _PREFIX.pack(0, len(message)) + message, (*_OK, *known))

    async def _fail(self, error: errors.IngestError) -> None:
        """End the call with the status of ``error``, its details in grpc-status-details-bin."""
        answer = answer_of(error)
        # An encoding or a method that is not here has a code of its own in gRPC.
        code = _UNIMPLEMENTED if isinstance(error, errors.UnsupportedEncoding) else answer.grpc
        field = error.field if isinstance(error, errors.MalformedRequest) else None
        status = status_message(code, str(error)[:_MESSAGE_CHARS_MAX], field=field, retry_s=answer.retry_s)
        trailers = [
            (b"grpc-status", str(code).encode()),
            (b"grpc-message", _percent_encoded(status.message)),
        ]
        if status.details:
            details = base64.b64encode(encode_status(status, Encoding.PROTOBUF)).rstrip(b"=")
            trailers.append((b"grpc-status-details-bin", details))
        await self._stream.respond([*_HEADERS, *trailers])

    def _text(self, name: bytes) -> str | None:
        value = self._header(name)
        return None if value is None else value.decode("latin-1")


def _percent_encoded(message: str) -> bytes:
    """Return a message as grpc-message carries it: printable ASCII, all else as %XX."""
    return b"".join(
        bytes([byte]) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte  # noqa: PLR2004
        for byte in message.encode()
    )
