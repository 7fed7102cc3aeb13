"""A uvicorn server inside our own event loop, with our bounds: bound before anything starts, stopped by us.

The query side is served by it. The receiver has a protocol of its own (``http1``), under the same bounds.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from otel_ingest.connections import SWEEP_INTERVAL_S
from otel_ingest.http1_bounds import KEEP_ALIVE_S, Bounds, TooMuchError
from otel_ingest.http1_parser import Parser
from otel_ingest.sockets import BACKLOG, address_of
from otel_ingest.tls import Certificates

_START_TIMEOUT_S = 10.0
_CONNECTIONS_MAX = 8_192


class BoundedProtocol(HttpToolsProtocol):
    """One connection; at most ``_CONNECTIONS_MAX`` of its listener, any other is closed as it comes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = Bounds()
        self.parser = Parser(self)  # type: ignore[assignment] # its own drops the body of who offers HTTP/2
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it: there are too many."""
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS_MAX:
            self._refused = True
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._refused:
            return
        self._bounds.received(len(data), idle=self.cycle is None or self.cycle.response_complete)
        super().data_received(data)
        try:
            self._bounds.parsed()
        except TooMuchError:
            self.send_400_response("")

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a peer that has sent all it wants to; TLS cannot be closed by half."""
        cycle = self.cycle
        if self.scheme == "http" and cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            return True
        return None

    def pause_writing(self) -> None:
        """Take note that answers are not read."""
        self._bounds.unread()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Take note that they are again."""
        self._bounds.read()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._bounds.begun()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._bounds.target(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._bounds.header(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        if self._offers:
            return
        self._bounds.headed(len(self.pipeline))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._bounds.body()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        if self._offers:
            return
        self._bounds.body()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request; uvicorn would read more of them although some wait."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text, where ours says which bound it was
        """Answer what is no HTTP, or too much of it, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self.transport.write(self._bounds.refusal())
        self.transport.close()

    @property
    def _offers(self) -> bool:
        return self.parser.should_upgrade() and not self.takes_offer()

    def head(self) -> list[tuple[bytes, bytes]]:
        """See ``http1_parser.Target``."""
        return self.headers

    def takes_offer(self) -> bool:
        """See ``http1_parser.Target``: WebSockets, where they are served."""
        return self._should_upgrade()

    def sweep(self, now: float) -> None:
        """Close a connection whose headers do not come, or whose answers are not read."""
        if (verdict := self._bounds.verdict(now)) is not None:
            getattr(self.transport, verdict)()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the composition root decides the order of stopping."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpListener:
    """One ASGI application on one bound socket."""

    def __init__(
        self,
        app: Any,
        sock: socket.socket,
        *,
        drain_timeout_s: float,
        certificates: Certificates | None = None,
        websockets: bool = False,
    ) -> None:
        self._sock = sock
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                http=BoundedProtocol,
                ws="wsproto" if websockets else "none",
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, int(drain_timeout_s)),
                backlog=BACKLOG,
                ssl_context_factory=None if certificates is None else lambda *_: certificates.ssl_context(),
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port as bound, an IPv6 host in brackets."""
        return address_of(self._sock)

    async def start(self) -> None:
        """Serve; return once requests are answered. Raises RuntimeError when the application does not start."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._sock]))
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while not self._server.started:
            if self._task.done() or asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"the HTTP server on {self.address} did not start")
            await asyncio.sleep(0.005)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop listening, let requests in flight be answered, return."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sock.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now = time.monotonic()
            for connection in list(self._server.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.sweep(now)
