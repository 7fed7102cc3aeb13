"""The write side from transport to sink: without PostgreSQL its sink opens when the test says so."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.rpc.status_pb2 import Status
from prometheus_client import CollectorRegistry

from otel_ingest.batcher import Batcher
from otel_ingest.budget import Budget
from otel_ingest.config import Endpoint
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.grpc_server import Authorize, build_grpc_server
from otel_ingest.http2 import Http2Server
from otel_ingest.http_app import HttpApp
from otel_ingest.ingest import Ingest
from otel_ingest.levels import no_configuration
from otel_ingest.limits import Limits
from otel_ingest.listener import HttpListener, address_of, bind
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.stats import ReceiverStats
from storage.api import Outcome, RowSink
from storage.batch import Batch
from tests.factories import log_record, logs_request

MIB = 1024 * 1024
BODY = logs_request([log_record()]).SerializeToString()
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


class HeldSink:
    """A sink that stores nothing until ``gate`` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.rows = 0
        self.sizes: list[int] = []

    async def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """See ``RowSink.write``."""
        self.entered.set()
        await self.gate.wait()
        self.rows += sum(len(batch.rows) for batch in batches)
        self.sizes.append(sum(batch.size_bytes for batch in batches))
        return [Outcome() for _ in batches]


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """Return the google.rpc.Status of a failed call; empty details: it must not be sent again."""
    return Status.FromString(dict(error.trailing_metadata() or ())["grpc-status-details-bin"])


async def everyone(_: str | None) -> None:
    """Let any sender in."""


class Rig:
    """The write side from transport to sink, without PostgreSQL."""

    grpc_address: str
    grpc_server: Http2Server
    http_listener: HttpListener

    def __init__(
        self, inflight_bytes: int = 256 * MIB, rate: int = 0, store: RowSink | None = None, **limits: Any
    ) -> None:
        self.sink = HeldSink()
        self.stats = ReceiverStats(CollectorRegistry())
        self.batcher = Batcher(store or self.sink, self.stats, writers=1, queue_bytes_max=256 * MIB)
        self.budget = Budget(inflight_bytes)
        decoder = Decoder(Limits(**limits), 192 * MIB)
        self.ingest = Ingest(Durable(self.batcher), decoder, ComponentRates(rate), self.stats, time.time_ns)

    @staticmethod
    def large(size: int) -> bytes:
        """Return a request of about ``size`` bytes in records of 64 KiB."""
        return logs_request([log_record(body={"string_value": "x" * 65_536})] * (size // 65_536)).SerializeToString()

    @staticmethod
    async def until(condition: Callable[[], Any]) -> None:
        """Wait until ``condition`` holds, 20 s at most."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)

    def requests(self) -> dict[tuple[str, str], int]:
        """Return {(transport, outcome): requests} of logs."""
        return {key[1:]: count for key, count in self.stats._requests.items()}

    @asynccontextmanager
    async def grpc(self, authorize: Authorize = everyone, **limits: Any) -> AsyncIterator[grpc.aio.Channel]:
        """Serve gRPC; yield a channel of a stock client."""
        sock = bind(Endpoint("127.0.0.1:0"), "grpc_endpoint")
        server = build_grpc_server(self.ingest, authorize, Limits(**limits), self.budget, no_configuration, sock)
        await server.start()
        self.grpc_server, self.grpc_address = server, address_of(sock)
        options = [("grpc.max_send_message_length", -1)]
        try:
            async with grpc.aio.insecure_channel(self.grpc_address, options=options) as channel:
                yield channel
        finally:
            await server.stop(5)

    @asynccontextmanager
    async def http(self, authorize: Authorize = everyone, *, send_buffer: int = 0, **limits: Any) -> AsyncIterator[str]:
        """Serve HTTP; yield its host:port. ``send_buffer``: bytes that the kernel takes of unread answers."""
        bounds = Limits(**limits)
        app = HttpApp(self.ingest, authorize, bounds, self.budget)
        sock = bind(Endpoint("127.0.0.1:0"), "http_endpoint")
        if send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listener = HttpListener(app, sock, drain_timeout_s=5, connections_max=bounds.connections_max)
        await listener.start()
        self.http_listener = listener
        try:
            yield listener.address
        finally:
            await listener.stop()

    async def post(self, body: bytes, *headers: tuple[bytes, bytes]) -> int:
        """POST to /v1/logs; return the status."""
        answers: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            answers.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/logs", "headers": headers, "http_version": "1.1"}
        await HttpApp(self.ingest, everyone, Limits(), self.budget)(scope, receive, send)
        return int(answers[0]["status"])
