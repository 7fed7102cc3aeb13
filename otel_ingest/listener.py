"""A uvicorn server inside our own event loop: bound before anything starts, stopped by us and not by signals."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Generator
from functools import partial
from typing import Any

import uvicorn

from otel_ingest.config import Endpoint
from otel_ingest.http1 import SWEEP_INTERVAL_S, BoundedProtocol
from otel_ingest.tls import Certificates

# uvicorn checks should_exit every 100 ms; requests in flight may take until then.
_KEEP_ALIVE_S = 75
_START_TIMEOUT_S = 10.0
_BACKLOG = 2048
_CONNECTIONS_MAX = 8_192


class AddressInUseError(OSError):
    """An endpoint that another program listens on; the text names the setting to change."""


def bind(endpoint: Endpoint, setting: str, *, shared: bool = False) -> socket.socket:
    """Return a listening socket for ``endpoint``; port 0 picks a free one. Raises AddressInUseError.

    ``shared``: other processes of ours listen there too, and the kernel gives each connection to one of them.
    """
    sock = _bound(endpoint, setting, shared=shared)
    sock.listen(_BACKLOG)
    sock.setblocking(False)  # noqa: FBT003
    return sock


def reserve(endpoint: Endpoint, setting: str) -> socket.socket:
    """Return a socket that holds an address for ``bind(…, shared=True)`` of other processes. Raises AddressInUseError.

    It does not listen. That nobody else does is tried first: a shared address would be shared with them.
    """
    alone = _bound(endpoint, setting, shared=False)
    alone.close()
    return _bound(endpoint, setting, shared=True)


def _bound(endpoint: Endpoint, setting: str, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((endpoint.host, endpoint.port))
    except OSError as error:
        sock.close()
        raise AddressInUseError(address_sentence(endpoint, setting, error.strerror)) from error
    return sock


def address_sentence(endpoint: Endpoint, setting: str, why: str | None) -> str:
    """Return what to say when ``endpoint`` cannot be listened on."""
    flag = "--" + setting.replace("_", "-")
    return (
        f"cannot listen on {endpoint}: {(why or 'the address cannot be used').lower()}; choose another with "
        f"{flag} or OTEL_INGEST_{setting.upper()} (port 0 picks a free one)"
    )


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
        connections_max: int = _CONNECTIONS_MAX,
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
                proxy_headers=websockets,  # the receiver asks nobody where they come from
                http=partial(BoundedProtocol, connections_max=connections_max),  # type: ignore[arg-type]
                ws="wsproto" if websockets else "none",
                lifespan="on",
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, int(drain_timeout_s)),
                backlog=_BACKLOG,
                ssl_context_factory=None if certificates is None else lambda *_: certificates.ssl_context(),
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port as bound, an IPv6 host in brackets."""
        return address_of(self._sock)

    @property
    def connections(self) -> list[BoundedProtocol]:
        """Those that are open, but for WebSockets."""
        return [one for one in list(self._server.server_state.connections) if isinstance(one, BoundedProtocol)]

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
            for connection in self.connections:
                connection.sweep(now)


def address_of(sock: socket.socket) -> str:
    """Return host:port of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
