"""HTTP/1.1 of the receiver: uvicorn's protocol on httptools, which has no bounds of its own, with ours.

Headers, silence, unread answers and connections cost a peer what they cost us, or they end its connection.
"""

import asyncio
import time
from typing import Any

import orjson
from google.rpc import code_pb2
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# A token, trace context and what proxies add fit well; nginx takes as much.
HEADER_BYTES_MAX = 32 * 1024
_HEADERS_MAX = 100
# Requests sent on one connection before the first is answered; each takes 3 KiB until its turn.
_PIPELINE_MAX = 100
# Until a request's headers are whole: from the first byte, or from the connection's beginning.
HEADER_TIMEOUT_S = 30.0
# A peer that leaves its answers unread for so long does not read them.
UNREAD_TIMEOUT_S = 30.0
SWEEP_INTERVAL_S = 2.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection; at most ``connections_max`` of its listener, any other is closed as it comes."""

    def __init__(self, *args: Any, connections_max: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections_max = connections_max
        self._waiting_since: float | None = None
        self._unread_since: float | None = None
        self._overhead_bytes = self._header_bytes = self._headers = 0
        self._over = self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it: there are too many."""
        super().connection_made(transport)
        self._waiting_since = time.monotonic()
        if len(self.connections) > self._connections_max:
            self._refused = True
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came; what ends no headers and is no body counts until it is, for the parser holds it."""
        if self._refused:
            return
        if self._waiting_since is None and (self.cycle is None or self.cycle.response_complete):
            self._waiting_since = time.monotonic()
        self._overhead_bytes += len(data)
        super().data_received(data)
        if self._over or self._overhead_bytes > HEADER_BYTES_MAX:
            message = (
                f"more than {HEADER_BYTES_MAX} bytes of headers, or more than {_HEADERS_MAX} of them, or more than "
                f"{_PIPELINE_MAX} requests without waiting for an answer"
            )
            self._refuse(431, "Request Header Fields Too Large", message)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a peer that has sent all it wants to; TLS cannot be closed by half."""
        cycle = self.cycle
        if self.scheme == "http" and cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            return True
        return None

    def pause_writing(self) -> None:
        """Take note that answers are not read."""
        self._unread_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Take note that they are again."""
        self._unread_since = None
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._waiting_since = time.monotonic()
        self._header_bytes = self._headers = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._headers += 1
        self._count(len(name) + len(value))
        if not self._over:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._overhead_bytes = 0
        self._waiting_since = None
        self._over = self._over or len(self.pipeline) >= _PIPELINE_MAX
        if not self._over:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._overhead_bytes = 0
        if not self._over:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        self._overhead_bytes = 0
        if not self._over:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request; uvicorn would read more of them although some wait."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "Bad Request", msg)

    def sweep(self, now: float) -> None:
        """Close a connection whose headers do not come, or whose answers are not read."""
        if self._unread_since is not None and now - self._unread_since > UNREAD_TIMEOUT_S:
            self.transport.abort()
        elif self._waiting_since is not None and now - self._waiting_since > HEADER_TIMEOUT_S:
            self.transport.close()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        self._over = self._over or self._header_bytes > HEADER_BYTES_MAX or self._headers > _HEADERS_MAX

    def _refuse(self, status: int, phrase: str, message: str) -> None:
        """Answer with a google.rpc.Status, as every error of ours is, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        body = orjson.dumps({"code": code_pb2.INVALID_ARGUMENT, "message": message})
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
