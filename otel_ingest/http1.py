"""HTTP/1.1 for OTLP/HTTP: httptools reads it; here requests take turns, and a peer's cost is bounded before it is paid.

A request is served by one task from its headers to its answer, which is one write. Of those sent on without waiting
for an answer each has its turn; nothing more is read meanwhile.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools

from otel_ingest.budget import Budget, Lease
from otel_ingest.connections import TransportServer
from otel_ingest.http1_bounds import Bounds, TooMuchError
from otel_ingest.http1_parser import Parser
from otel_ingest.request import PeerGoneError, Request

# Of a body that nobody reads yet; the budget bounds the sum of all.
_UNREAD_BODY_BYTES = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TARGETS_MAX = _HEADS_MAX = 64


class HttpRequest(Request):
    """One request and its answer; of headers that came more than once the first."""

    def __init__(self, connection: "Connection", lease: Lease, *, keep_alive: bool) -> None:
        super().__init__(connection.headers, lease)
        self.method = connection.parser.get_method()
        self.path = _path_of(connection.url)
        self.keep_alive = keep_alive
        self.is_answered = False
        self._connection = connection
        self._expects = self.headers.get(b"expect", b"").lower() == b"100-continue"

    @property
    def withholds(self) -> bool:
        """Whether the peer still waits to be told that its body is wanted."""
        return self._expects and not self.is_whole and not self.waiting_bytes

    def consumed(self, flow: int) -> None:  # noqa: ARG002 - there are no windows
        """See ``Request``."""
        self._connection.pace()

    async def read(self) -> bytes | None:
        """See ``Request``."""
        if self._expects:
            if self.withholds:
                self._connection.encourage()
            self._expects = False
        return await super().read()

    def respond(
        self, status: int, media_type: str, body: bytes, headers: Iterable[tuple[str, str]] = (), *, close: bool = False
    ) -> None:
        """Answer, and end the connection where ``close`` says so. Raises PeerGoneError."""
        if isinstance(self._error, PeerGoneError):
            raise self._error
        self.keep_alive = self.keep_alive and not close
        head = _head(status, int(time.time()), media_type, len(body), tuple(headers))
        self._connection.answer(self, head, b"" if self.method == b"HEAD" else body, close=close)


class Connection(asyncio.Protocol):
    """One peer."""

    def __init__(
        self, server: TransportServer, budget: Budget, serve: Callable[[HttpRequest], Coroutine[Any, Any, None]]
    ) -> None:
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.parser = Parser(self)
        self._server = server
        self._budget = budget
        self._serve_one = serve
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._bounds = Bounds()
        self._coming: HttpRequest | None = None
        """Whose body is being parsed."""
        self._current: HttpRequest | None = None
        self._waiting: deque[HttpRequest] = deque()
        self._refusal = b""
        """What to say after all answers, to what could not be parsed."""
        self._reads = self._writable = True
        self._ends = False
        """Whether the connection ends with the last answer that is owed."""
        self._deaf = False
        """Whether what comes is dropped: it is behind the last request."""
        self._is_finished = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it: there are too many."""
        self._transport = transport  # type: ignore[assignment]
        if not self._server.admit(self):
            self._deaf = True
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._deaf:
            return
        self._bounds.received(len(data), idle=self._current is None)
        try:
            self.parser.feed_data(data)
            self._bounds.parsed()
        except (httptools.HttpParserError, TooMuchError):
            self._refuse()
        self.pace()

    def eof_received(self) -> bool:
        """Answer a peer that has sent all it wants to; TLS cannot be closed by half."""
        self._ends = self._deaf = True
        if self._coming is not None:
            self._give_up(self._coming)
        return self._current is not None and self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        """Take nothing more from a peer that does not read: its answers can only become more."""
        self._writable = False
        self._bounds.unread()
        self.pace()

    def resume_writing(self) -> None:
        """Go on: it has read."""
        self._writable = True
        self._bounds.read()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End reading and answering: nobody is there."""
        self._server.leave(self)
        self._deaf = True
        if self._current is not None:
            self._current.fail(PeerGoneError())
        while self._waiting:
            self._waiting.popleft().fail(PeerGoneError())
        del self.parser  # it refers to this

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._bounds.begun()
        self.url, self.headers = b"", {}

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._bounds.target(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer counts, and says nothing."""
        self._bounds.header(len(name) + len(value))
        name = name.lower()
        if self._coming is not None:
            return
        if name not in self.headers:
            self.headers[name] = value
        elif name == b"transfer-encoding":
            raise httptools.HttpParserError("more than one Transfer-Encoding")

    def on_headers_complete(self) -> None:
        """Start the request, or let it wait for its turn."""
        if self._deaf or self.parser.should_upgrade():
            return
        self._bounds.headed(len(self._waiting))
        keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        self._coming = HttpRequest(self, self._budget.lease(), keep_alive=keep_alive)
        self._waiting.append(self._coming)
        self._next()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._bounds.body()
        if self._coming is not None:
            self._coming.feed(body, 0)

    def on_message_complete(self) -> None:
        """End the body."""
        self._bounds.body()
        if self._coming is not None:
            self._coming.end()
            self._ends = self._deaf = self._ends or not self._coming.keep_alive
            self._coming = None
            self._next()

    def head(self) -> Iterable[tuple[bytes, bytes]]:
        """See ``http1_parser.Target``."""
        return self.headers.items()

    def takes_offer(self) -> bool:
        """See ``http1_parser.Target``."""
        return False

    # What requests call.

    def pace(self) -> None:
        """Read as long as what comes can be dealt with soon."""
        coming = self._coming
        reads = self._deaf or (
            self._writable and not self._waiting and (coming is None or coming.waiting_bytes <= _UNREAD_BODY_BYTES)
        )
        if reads is not self._reads and not self._transport.is_closing():
            self._reads = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def encourage(self) -> None:
        """Tell a peer that asked first to send its body."""
        if not self._transport.is_closing():
            self._transport.write(_CONTINUE)

    def answer(self, request: HttpRequest, head: bytes, body: bytes, *, close: bool) -> None:
        """Send the answer to the current request. Raises PeerGoneError."""
        if request is not self._current or self._transport.is_closing():
            raise PeerGoneError
        request.is_answered = True
        # Whether a body comes that was not asked for, nobody knows: what follows might be that, or a request.
        self._deaf = self._deaf or close or request.withholds
        last = self._deaf or self._ends or not request.keep_alive
        self._ends = self._ends or last
        last = last and not self._waiting and not self._refusal
        self._transport.write(b"".join((head, b"connection: close\r\n\r\n" if last else b"\r\n", body)))

    # What the server calls.

    def drain(self) -> None:
        """Take no new request, finish those under way, close."""
        self._ends = True
        self._deaf = self._deaf or self._coming is None
        if self._current is None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what is being exported goes on, unanswered."""
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Close what is silent, and what does not read its answers."""
        verdict = self._bounds.verdict(now)
        if verdict == "abort":
            self._transport.abort()
        elif verdict == "close" and self._current is None:
            self._transport.close()
        elif verdict == "close":
            self._ends = self._deaf = True

    def _refuse(self) -> None:
        """Tell the peer that it speaks no HTTP, or too much of it, after the answers that are owed; then close."""
        if self._deaf:
            return
        self._ends = self._deaf = True
        if self._coming is None or not self._coming.is_answered:
            self._refusal = self._bounds.refusal()
        if self._coming is not None:
            self._give_up(self._coming)
        self._next()

    def _give_up(self, request: HttpRequest) -> None:
        """Drop a request whose body does not become whole; its task, where it has one, ends by itself."""
        self._coming = None
        request.fail(PeerGoneError())
        if request is self._current:
            self._current = None
        elif self._waiting:
            self._waiting.pop()

    def _next(self) -> None:
        """Start the next request where none is under way, or wait for one, or close."""
        if self._current is None and self._writable and not self._is_finished and not self._transport.is_closing():
            if self._waiting:
                self._current = self._waiting.popleft()
                self._current.task = self._loop.create_task(self._serve(self._current))
            elif self._coming is not None and not self._deaf:
                self._bounds.discarding()
            elif self._ends:
                self._finish()
            else:
                self._bounds.silent()
        self.pace()

    def _finish(self) -> None:
        """Close; only our side at first where more may come: that would make it a reset, which takes answers away."""
        if self._refusal:
            self._transport.write(self._refusal)
        if (self._refusal or self._coming is not None) and self._transport.can_write_eof():
            self._transport.write_eof()
            self._bounds.lingering()
            self._refusal, self._coming, self._is_finished = b"", None, True
        else:
            self._transport.close()

    async def _serve(self, request: HttpRequest) -> None:
        try:
            await self._serve_one(request)
        except PeerGoneError:
            pass
        finally:
            request.fail(PeerGoneError())
            request.lease.release()
            if request is self._current:
                self._current = None
                if not request.is_answered:
                    self._transport.close()
                self._next()


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


@lru_cache(_HEADS_MAX)
def _head(status: int, second: int, media_type: str, length: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    """Return an answer's head but for the line of its connection's fate; most answers of a second have the same."""
    head = f"{_STATUS_LINES[status]}date: {formatdate(second, usegmt=True)}\r\ncontent-type: {media_type}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{head}content-length: {length}\r\n".encode("latin-1")


@lru_cache(_TARGETS_MAX)
def _path_of(target: bytes) -> str:
    """Return the path of a request's target, its %XX undone. Raises httptools.HttpParserInvalidURLError."""
    path = httptools.parse_url(target).path.decode("ascii")
    return unquote(path) if "%" in path else path
