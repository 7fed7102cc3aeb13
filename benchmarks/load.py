"""A load generator that measures little of itself: requests encoded before, sockets, a selector, its own process.

Closed loop: each connection sends its next request when the last one is answered. Open loop (``rate``): requests are
due at fixed times, and their latency counts from then, whatever the server does (no coordinated omission).
"""

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Literal

from otel_ingest.signals import SIGNALS

Transport = Literal["http", "grpc"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_LEAST = 16_384
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_MAX = 0x7FFFFFFF
_INITIAL_WINDOW = 4
_MAX_FRAME_SIZE = 5
_BLOCK_BYTES = 2


@dataclass(slots=True)
class Measured:
    """What a run took: seconds in all, and of each answer; CPU seconds of the generator itself."""

    seconds: float
    latencies_s: list[float]
    cpu_s: float


@dataclass(slots=True)
class _Connection:
    """One connection, one request at a time; ``out`` is what is still to be sent."""

    sock: socket.socket
    transport: Transport
    out: memoryview = field(default_factory=lambda: memoryview(b""))
    pending: bytes = b""
    due_s: float = 0.0
    busy: bool = False
    stream: int = -1
    body: memoryview = field(default_factory=lambda: memoryview(b""))
    window: int = 65_535
    stream_window: int = 65_535
    initial_window: int = 65_535
    frame_max: int = _FRAME_LEAST
    """As the server says: gRPC's core (C++, Python) makes frames as large as its peer takes."""

    def begin(self, request: bytes, due_s: float) -> None:
        """Take a request and send what can be sent."""
        self.due_s, self.busy = due_s, True
        if self.transport == "http":
            self.out = memoryview(request)
        else:
            self.stream += 2
            self.stream_window = self.initial_window
            size = int.from_bytes(request[:_BLOCK_BYTES], "big") + _BLOCK_BYTES
            head = _frame(_HEADERS, _END_HEADERS, self.stream, request[_BLOCK_BYTES:size])
            self.out, self.body = memoryview(head), memoryview(request)[size:]
            self._more_body()
        self.send()

    def send(self) -> None:
        """Send until the socket takes no more."""
        while self.out:
            try:
                self.out = self.out[self.sock.send(self.out) :]
            except BlockingIOError:
                return

    def received(self) -> bool:
        """Read; return whether the request at hand is answered. Raises RuntimeError for any answer but success."""
        data = self.sock.recv(262_144)
        if not data:
            raise RuntimeError("the server closed a connection")
        self.pending += data
        return self._http() if self.transport == "http" else self._grpc()

    def _http(self) -> bool:
        head, found, rest = self.pending.partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(self.pending[:500].decode(errors="replace"))
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(rest) < length:
            return False
        self.pending = rest[length:]
        return True

    def _grpc(self) -> bool:
        done = False
        while len(self.pending) >= 9:
            size = int.from_bytes(self.pending[:3], "big")
            if len(self.pending) < 9 + size:
                break
            kind, flags = self.pending[3], self.pending[4]
            payload = self.pending[9 : 9 + size]
            stream = int.from_bytes(self.pending[5:9], "big")
            self.pending = self.pending[9 + size :]
            done = self._frame(kind, flags, stream, payload) or done
        return done

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if kind == _SETTINGS and not flags & _ACK:
            for at in range(0, len(payload), 6):
                self._set(int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
            self._queue(_frame(_SETTINGS, _ACK, 0, b""))
            self._more_body()
            self.send()
        elif kind == _PING and not flags & _ACK:
            self._queue(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW:
            more = int.from_bytes(payload, "big")
            if stream:
                self.stream_window += more
            else:
                self.window += more
            self._more_body()
            self.send()
        elif kind == _GOAWAY:
            raise RuntimeError(f"the server went away: {payload!r}")
        elif kind == _HEADERS and flags & _END_STREAM and stream == self.stream:
            return True
        return False

    def _set(self, setting: int, value: int) -> None:
        if setting == _INITIAL_WINDOW:
            self.stream_window += value - self.initial_window
            self.initial_window = value
        elif setting == _MAX_FRAME_SIZE:
            self.frame_max = value

    def _queue(self, frame: bytes) -> None:
        self.out = memoryview(bytes(self.out) + frame)
        self.send()

    def _more_body(self) -> None:
        """Put as much of the body behind what is to be sent as the windows allow."""
        while self.body and (size := min(self.frame_max, self.window, self.stream_window, len(self.body))) > 0:
            last = size == len(self.body)
            frame = _frame(_DATA, _END_STREAM if last else 0, self.stream, bytes(self.body[:size]))
            self.body = self.body[size:]
            self.window, self.stream_window = self.window - size, self.stream_window - size
            self.out = memoryview(bytes(self.out) + frame)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header field without indexing, as HPACK has it (RFC 7541, 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _grpc_headers(service: str) -> bytes:
    """Return the header block of a call of a service's Export, its length before it."""
    pairs = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/{service}/Export".encode()),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    block = b"".join(_literal(*pair) for pair in pairs)
    return len(block).to_bytes(_BLOCK_BYTES, "big") + block


_GRPC_HEADERS = {signal.path: _grpc_headers(signal.service) for signal in SIGNALS}


def framed(body: bytes, transport: Transport, path: str = "/v1/logs") -> bytes:
    """Return a request as it goes over the wire: HTTP/1.1 with its head, or gRPC's headers and message."""
    if transport == "grpc":
        return _GRPC_HEADERS[path] + b"\x00" + len(body).to_bytes(4, "big") + body
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def drive(
    address: str, transport: Transport, requests: Sequence[bytes], connections: int, rate: float | None = None
) -> Measured:
    """Send all requests (``framed``), ``connections`` at a time; ``rate``: requests a second, open loop."""
    host, _, port = address.rpartition(":")
    selector, idle = selectors.DefaultSelector(), []
    for _ in range(connections):
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)  # noqa: FBT003
        connection = _Connection(sock, transport)
        if transport == "grpc":
            grown = _frame(_WINDOW, 0, 0, (_WINDOW_MAX - 65_535).to_bytes(4, "big"))
            connection.out = memoryview(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + grown)
            connection.send()
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        idle.append(connection)
    cpu, started = time.process_time(), time.perf_counter()
    latencies = _run(selector, idle, _due(requests, rate, started))
    measured = Measured(time.perf_counter() - started, latencies, time.process_time() - cpu)
    for key in list(selector.get_map().values()):
        key.data.sock.close()
    selector.close()
    return measured


def _due(requests: Sequence[bytes], rate: float | None, started: float) -> Iterator[tuple[bytes, float | None]]:
    for n, request in enumerate(requests):
        yield request, None if rate is None else started + n / rate


def _run(
    selector: selectors.BaseSelector, idle: list[_Connection], due: Iterator[tuple[bytes, float | None]]
) -> list[float]:
    latencies: list[float] = []
    waiting, under_way = next(due, None), 0
    writing = {c.sock.fileno() for c in idle}
    while waiting is not None or under_way:
        now = time.perf_counter()
        while idle and waiting is not None and (waiting[1] is None or waiting[1] <= now):
            connection = idle.pop()
            connection.begin(waiting[0], waiting[1] or now)
            under_way += 1
            _listen(selector, connection, writing)
            waiting = next(due, None)
        pause = None if waiting is None or waiting[1] is None or not idle else max(0.0, waiting[1] - now)
        for key, events in selector.select(pause):
            connection = key.data
            if events & selectors.EVENT_WRITE:
                connection.send()
            if events & selectors.EVENT_READ and connection.received() and connection.busy:
                latencies.append(time.perf_counter() - connection.due_s)
                connection.busy = False
                idle.append(connection)
                under_way -= 1
            _listen(selector, connection, writing)
    return latencies


def _listen(selector: selectors.BaseSelector, connection: _Connection, writing: set[int]) -> None:
    """Ask for writability only while there is something to send."""
    fd, wants = connection.sock.fileno(), bool(connection.out)
    if wants != (fd in writing):
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wants else 0)
        selector.modify(connection.sock, events, connection)
        (writing.add if wants else writing.discard)(fd)


_requests: dict[str, list[bytes]] = {}


def _hold(requests: dict[str, list[bytes]]) -> None:
    _requests.update(requests)


def _drive(address: str, transport: Transport, name: str, connections: int, rate: float | None) -> Measured:
    return drive(address, transport, _requests[name], connections, rate)


class Generator:
    """A process that holds named lists of requests and sends them when told."""

    def __init__(self, requests: dict[str, list[bytes]]) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _hold, (requests,))

    def drive(
        self, address: str, transport: Transport, name: str, connections: int, rate: float | None = None
    ) -> Measured:
        """See ``drive``."""
        return self._pool.submit(_drive, address, transport, name, connections, rate).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()
