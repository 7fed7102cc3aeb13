"""Step 1, OTLP/gRPC: the three Export methods. In the words of gRPC.

gRPC over HTTP/2 as https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md says; unary calls only. Authorised
before a byte of the message is read.
"""

import base64
import socket
import ssl
import struct

from otel_ingest import errors
from otel_ingest.answers import answer_of
from otel_ingest.body import Body, in_time
from otel_ingest.budget import Budget
from otel_ingest.connections import TransportServer
from otel_ingest.exports import Exports
from otel_ingest.http2 import Connection
from otel_ingest.http2_stream import Stream
from otel_ingest.levels import CONFIGURATION_HEADER
from otel_ingest.limits import Limits
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding
from otel_ingest.wire.codings import SUPPORTED
from otel_ingest.wire.status import encode_status, status_message

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
    exports: Exports, limits: Limits, budget: Budget, sock: socket.socket, tls: ssl.SSLContext | None = None
) -> TransportServer:
    """Return a server on a bound socket that is not started yet; ``tls`` must offer h2 by ALPN."""

    async def serve(stream: Stream) -> None:
        if stream.headers.get(b"content-type", b"").startswith(b"application/grpc"):
            await exports.serve(_GrpcCall(stream, limits))
        else:
            await stream.respond([(b":status", b"415")])

    return TransportServer(
        sock, lambda server: Connection(server, budget, serve), connections_max=limits.connections_max, tls=tls
    )


class _GrpcCall:
    """One call of an Export method, see ``exports.Call``."""

    transport = "grpc"

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self.request = stream
        self._limits = limits

    def signal(self) -> Signal:
        signal = _BY_PATH.get(self.request.headers.get(b":path", b""))
        if signal is None:
            raise errors.UnknownPath("only the Export methods of logs, traces and metrics are here")
        return signal

    def encoding(self) -> Encoding:
        return Encoding.PROTOBUF

    async def body(self) -> bytes:
        return await in_time(self.request, self._message(), self._limits.body_timeout_s)

    async def answer(self, body: bytes, configuration: str | None) -> None:
        known = ((CONFIGURATION_HEADER.encode(), configuration.encode()),) if configuration else ()
        await self.request.respond(_HEADERS, _PREFIX.pack(0, len(body)) + body, (*_OK, *known))

    async def fail(self, error: errors.IngestError) -> None:
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
        await self.request.respond([*_HEADERS, *trailers])

    async def _message(self) -> bytes:
        """Return the one message of the request."""
        limit = self._limits.body_bytes_max
        whole = self.request.take_whole()
        if whole is not None:
            if whole[:1] == b"\0" and int.from_bytes(whole[1:5]) == len(whole) - _PREFIX.size <= limit:
                return whole[_PREFIX.size :]
            self.request.lease.refund(len(whole))
        prefix, chunk = await self._prefix(whole or b"")
        compressed, length = _PREFIX.unpack(prefix)
        if not compressed and length > limit:
            raise errors.RequestTooLarge(f"the message has {length} bytes, the limit is {limit}")
        coding = self.request.text(b"grpc-encoding") or "identity"
        if compressed and coding == "identity":
            raise errors.MalformedRequest("the message is marked as compressed, and grpc-encoding names no coding")
        body = Body(coding if compressed else "identity", limit, self.request.lease)
        received = 0
        piece: bytes | None = chunk
        while piece is not None:
            received += len(piece)
            if received > length:
                raise errors.MalformedRequest("Export takes one message, there is more after it")
            await body.feed(piece)
            piece = await self.request.read()
        if received < length:
            raise errors.MalformedRequest(f"the message ends after {received} of {length} bytes")
        return body.finish()

    async def _prefix(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the prefix of the message, and what came with it; ``data`` was read before."""
        while len(data) < _PREFIX.size:
            piece = await self.request.read()
            if piece is None:
                raise errors.MalformedRequest("the call ends before its message")
            data += piece
        return data[: _PREFIX.size], data[_PREFIX.size :]


def _percent_encoded(message: str) -> bytes:
    """Return a message as grpc-message carries it: printable ASCII, all else as %XX."""
    return b"".join(
        bytes([byte]) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte  # noqa: PLR2004
        for byte in message.encode()
    )
