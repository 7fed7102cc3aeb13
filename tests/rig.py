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
from otel_ingest.connections import TransportServer
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.exports import Authorize, Exports
from otel_ingest.grpc_server import build_grpc_server
from otel_ingest.http_app import build_http_server, http_app
from otel_ingest.ingest import Ingest
from otel_ingest.levels import no_configuration
from otel_ingest.limits import Limits
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.sockets import bind
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
    grpc_server: TransportServer
    http_server: TransportServer

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
        exports = Exports(self.ingest, authorize, no_configuration)
        server = build_grpc_server(exports, Limits(**limits), self.budget, sock)
        await server.start()
        self.grpc_server, self.grpc_address = server, server.address
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
        app = http_app(Exports(self.ingest, authorize, no_configuration), bounds)
        sock = bind(Endpoint("127.0.0.1:0"), "http_endpoint")
        if send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.http_server = build_http_server(app, bounds, self.budget, sock)
        await self.http_server.start()
        try:
            yield self.http_server.address
        finally:
            await self.http_server.stop(5)

    async def post(self, body: bytes, *headers: tuple[bytes, bytes]) -> int:
        """POST to /v1/logs; return the status."""
        sizes = () if b"content-length" in dict(headers) else ((b"content-length", b"%d" % len(body)),)
        lines = (b"POST /v1/logs HTTP/1.1", *(b": ".join(one) for one in (*headers, *sizes)), b"", body)
        async with self.http() as address:
            host, port = address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"\r\n".join(lines))
            answer = await asyncio.wait_for(reader.readline(), 20)
            writer.close()
        return int(answer.split()[1])
