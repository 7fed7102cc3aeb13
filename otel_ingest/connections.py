"""The listening side of a transport: connections are let in up to a limit, closed when silent, and ended in order."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Protocol

from otel_ingest.sockets import BACKLOG, address_of

SWEEP_INTERVAL_S = 2.0


class Connection(Protocol):
    """One peer, of either transport; an asyncio.Protocol besides."""

    def drain(self) -> None:
        """Take no new request, finish those under way, close."""

    def abort(self) -> None:
        """Close at once; what is being exported goes on, unanswered."""

    def sweep(self, now: float) -> None:
        """Close what is silent: no request for long, or answers that nobody reads."""


class TransportServer:
    """Listens on one bound socket; ``connect`` makes the protocol of each connection, which asks it to be let in."""

    def __init__(
        self,
        sock: socket.socket,
        connect: Callable[["TransportServer"], asyncio.Protocol],
        *,
        connections_max: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.connections: set[Connection] = set()
        self._sock = sock
        self._connect = connect
        self._connections_max = connections_max
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()

    @property
    def address(self) -> str:
        """host:port as bound, an IPv6 host in brackets."""
        return address_of(self._sock)

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._connect(self), sock=self._sock, ssl=self._tls, backlog=BACKLOG
        )
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, grace_s: float) -> None:
        """Stop listening, let requests under way be answered for ``grace_s`` at most, close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_s)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sock.close()

    def admit(self, connection: Connection) -> bool:
        """Take a new connection, or not: there are too many."""
        if len(self.connections) >= self._connections_max:
            return False
        self.connections.add(connection)
        self._empty.clear()
        return True

    def leave(self, connection: Connection) -> None:
        """Take note that a connection is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.sweep(now)
