"""What one HTTP/1.1 connection may cost: headers, silence, unread answers and waiting requests are paid by their peer.

httptools has no bounds of its own. The receiver's protocol (``http1``) and uvicorn's (``listener``) both tell this what
their parser meets.
"""

import time
from typing import Literal

import orjson
from google.rpc import code_pb2

from otel_ingest.request import UNREAD_TIMEOUT_S

# A token, trace context and what proxies add fit well; nginx takes as much.
HEADER_BYTES_MAX = 32 * 1024
HEADERS_MAX = 100
# Requests sent on one connection before the first is answered; each takes 3 KiB until its turn.
PIPELINE_MAX = 100
# Until a request's headers are whole: from the first byte, or from the connection's beginning.
HEADER_TIMEOUT_S = 30.0
# From an answer to the first byte of the next request.
KEEP_ALIVE_S = 75
# Until a peer has read the last answer, and closed.
LINGER_S = 5.0
BAD_REQUEST = (400, "Bad Request", "Invalid HTTP request received.")
TOO_MUCH = (
    431,
    "Request Header Fields Too Large",
    f"more than {HEADER_BYTES_MAX} bytes of headers, {HEADERS_MAX} headers, or {PIPELINE_MAX} unanswered requests",
)


class TooMuchError(Exception):
    """More headers, or more requests without an answer, than are taken."""


class Bounds:
    """The account of one connection."""

    def __init__(self) -> None:
        self.is_over = False
        self._overhead_bytes = self._header_bytes = self._headers = 0
        self._due_s: float | None = time.monotonic() + HEADER_TIMEOUT_S
        self._is_silent = False
        self._unread_since: float | None = None

    def received(self, size: int, *, idle: bool) -> None:
        """Count bytes before they are parsed; ``idle``: no request is under way that they could belong to."""
        if self._is_silent or (idle and self._due_s is None):
            self._is_silent = False
            self._due_s = time.monotonic() + HEADER_TIMEOUT_S
        self._overhead_bytes += size

    def parsed(self) -> None:
        """Look at what was parsed: what ends no headers and is no body counts until it is, for the parser holds it.

        Raises TooMuchError.
        """
        if self._overhead_bytes > HEADER_BYTES_MAX:
            self._over()

    def begun(self) -> None:
        """Begin to count a request's headers."""
        self._header_bytes = self._headers = 0
        self._due_s = time.monotonic() + HEADER_TIMEOUT_S

    def target(self, size: int) -> None:
        """Count a piece of a request's target. Raises TooMuchError."""
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES_MAX:
            self._over()

    def header(self, size: int) -> None:
        """Count a header, or a trailer. Raises TooMuchError."""
        self._header_bytes += size
        self._headers += 1
        if self._header_bytes > HEADER_BYTES_MAX or self._headers > HEADERS_MAX:
            self._over()

    def headed(self, waiting: int) -> None:
        """Take note of whole headers; ``waiting`` requests on this connection have not had their turn.

        Raises TooMuchError.
        """
        self._overhead_bytes = 0
        self._due_s = None
        if waiting >= PIPELINE_MAX:
            self._over()

    def body(self) -> None:
        """Take note of a piece of the body, or of its end."""
        self._overhead_bytes = 0

    def silent(self) -> None:
        """Begin to wait for the next request."""
        self._is_silent = True
        self._due_s = time.monotonic() + KEEP_ALIVE_S

    def discarding(self) -> None:
        """Begin to wait for the end of a body that was answered before it was whole."""
        self._due_s = time.monotonic() + HEADER_TIMEOUT_S

    def lingering(self) -> None:
        """Begin to wait for a peer that was told the last to close its side."""
        self._due_s = time.monotonic() + LINGER_S

    def unread(self) -> None:
        """Take note that answers are not read."""
        self._unread_since = time.monotonic()

    def read(self) -> None:
        """Take note that they are again."""
        self._unread_since = None

    def verdict(self, now: float) -> Literal["abort", "close"] | None:
        """Say how to end a connection whose answers are not read, or whose requests do not come."""
        if self._unread_since is not None and now - self._unread_since > UNREAD_TIMEOUT_S:
            return "abort"
        return "close" if self._due_s is not None and now > self._due_s else None

    def refusal(self) -> bytes:
        """Return the answer to what is no HTTP, or too much of it: a google.rpc.Status, as every error of ours is."""
        status, phrase, message = TOO_MUCH if self.is_over else BAD_REQUEST
        body = orjson.dumps({"code": code_pb2.INVALID_ARGUMENT, "message": message})
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _over(self) -> None:
        self.is_over = True
        raise TooMuchError
