"""Plain clients for the conformance checks: http.client, raw sockets, a gRPC channel of bytes."""

import contextlib
import http.client
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests import harness
from tests.contract import readback

_SERVICES = {
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_TIMEOUT_S = 30


@dataclass
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Target:
    """A running server, and one more that asks for tokens."""

    def __init__(self, server: harness.Server, guarded: harness.Server) -> None:
        self._server = server
        self._guarded = guarded
        self._active = server

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(self._active.http, timeout=_TIMEOUT_S)
        # Refused while it was still being sent: the answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers or {})
        try:
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes, content_type: str, headers: dict[str, str] | None = None) -> Answer:
        """POST a body."""
        return self.request("POST", path, body, {"Content-Type": content_type} | (headers or {}))

    def call(self, signal: str, body: bytes, token: str | None = None, **options: Any) -> bytes:
        """Call Export with raw bytes."""
        limits = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self._active.grpc, options=limits, **options) as channel:
            metadata = [("authorization", f"Bearer {token}")] if token else None
            return bytes(
                channel.unary_unary(f"/{_SERVICES[signal]}/Export")(body, timeout=_TIMEOUT_S, metadata=metadata)
            )

    def raw(self, data: bytes, answers: int, needle: bytes = b"HTTP/1.1 200") -> bytes:
        """Send bytes on one connection and return what comes until ``answers`` needles were seen."""
        host, port = self._active.http.split(":")
        received = b""
        with socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as sock:
            sock.sendall(data)
            while received.count(needle) < answers:
                piece = sock.recv(65536)
                if not piece:
                    break
                received += piece
        return received

    def abandon(self, data: bytes) -> None:
        """Send bytes and cut the connection."""
        host, port = self._active.http.split(":")
        with socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as sock:
            sock.sendall(data)

    def stored(self, signal: str) -> int:
        """Return how many records of a signal were stored so far, by the ledger."""
        return self._active.ledger()[signal]["stored"]

    def log_records(self, severity_text: str) -> list[LogRecord]:
        """Return the stored log records with a severity text, made whole again from their rows."""
        with self._active.sql() as cursor:
            return readback.log_records(cursor, severity_text)

    def span_ids(self, name: str) -> list[Span]:
        """Return the stored spans of a name with their ids and those of their links alone."""
        with self._active.sql() as cursor:
            return readback.span_ids(cursor, name)

    @staticmethod
    def parallel(work: Callable[[], Any], count: int) -> list[Any]:
        """Run the same call ``count`` times at once."""
        with ThreadPoolExecutor(count) as pool:
            return [future.result() for future in [pool.submit(work) for _ in range(count)]]

    @contextmanager
    def store_away(self) -> Iterator[None]:
        """Make the server's database read-only, as after a failover to a standby, and end its sessions."""
        with self._server.sql() as cursor:
            cursor.execute("ALTER DATABASE otel_ingest SET default_transaction_read_only = on")
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'otel-ingest' AND pid <> pg_backend_pid()"
            )
        try:
            yield
        finally:
            with self._server.sql() as cursor:
                cursor.execute("SET default_transaction_read_only = off")
                cursor.execute("ALTER DATABASE otel_ingest RESET default_transaction_read_only")
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'otel-ingest' AND pid <> pg_backend_pid()"
                )

    @contextmanager
    def token_required(self) -> Iterator[tuple[str, str]]:
        """Talk to the server that asks for tokens; yield an unknown token and one of another role."""
        self._active = self._guarded
        try:
            yield "oti_ingest_unknown", self._guarded.token("read")
        finally:
            self._active = self._server


@contextmanager
def target(directory: Path) -> Iterator[Target]:
    """Start both servers; without a spool, so that what PostgreSQL does not take is refused."""
    with (
        harness.running(directory / "open", OTEL_INGEST_SPOOL_BYTES_MAX="0") as server,
        harness.running(directory / "guarded", OTEL_INGEST_INGEST_TOKEN_REQUIRED="true") as guarded,
    ):
        yield Target(server, guarded)
