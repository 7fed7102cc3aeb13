"""The write side without a store: requests are received, decoded and answered. Run as a program; prints its addresses.

``null``: the least that answers 200, to see what the load generator costs by itself. ``parse``: requests are parsed to
messages, as collectors count, and no further. ``redact``: the second line is on.
"""

import asyncio
import socket
import sys
import time
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from otel_ingest import memory
from otel_ingest.budget import Budget
from otel_ingest.config import Endpoint
from otel_ingest.decoder import Decoder
from otel_ingest.decoding import Decoded
from otel_ingest.exports import Exports
from otel_ingest.grpc_server import build_grpc_server
from otel_ingest.http_app import build_http_server, http_app
from otel_ingest.ingest import Ingest
from otel_ingest.levels import no_configuration
from otel_ingest.limits import Limits
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.redact import SecondLine
from otel_ingest.redaction import shared_rules
from otel_ingest.signals import Signal
from otel_ingest.sockets import address_of, bind
from otel_ingest.stats import ReceiverStats
from otel_ingest.wire import Encoding
from otel_ingest.wire.protobuf import parse_whole
from storage.api import Outcome
from storage.batch import Batch

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Nowhere:
    """What stands in the place of ``Durable``: everything is kept nowhere; as with a COMMIT, others run meanwhile."""

    async def keep(self, *_: Any) -> Outcome:
        """Return that all of it is stored."""
        await asyncio.sleep(0)
        return Outcome()

    async def note(self, *_: Any) -> None:
        """Do nothing."""


class Parser(Decoder):
    """Parses a request to the bottom, and makes no rows."""

    async def decode(self, signal: Signal, body: bytes, encoding: Encoding, received_ns: int) -> Decoded:  # noqa: ARG002
        """Return no rows."""
        parse_whole(signal, body)
        return Decoded(Batch(signal.table))


async def _open(_: str | None) -> None:
    """Let everybody in, as loopback does by default."""


class _Null(asyncio.Protocol):
    def __init__(self) -> None:
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if not self._left:
            head, _, body = data.partition(b"\r\n\r\n")
            self._left = int(head.rpartition(b"Content-Length: ")[2]) - len(body)
        else:
            self._left -= len(data)
        if not self._left:
            self._transport.write(_ANSWER)


def _bound() -> socket.socket:
    return bind(Endpoint("127.0.0.1:0"), "http_endpoint")


async def main() -> None:
    """Serve until the input ends."""
    if sys.argv[1:] == ["null"]:
        sock = _bound()
        server = await asyncio.get_running_loop().create_server(_Null, sock=sock)
        print(address_of(sock), address_of(sock), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()
        return
    memory.spare_cycles()  # as the server does
    limits, budget, stats = Limits(), Budget(512 << 20), ReceiverStats(CollectorRegistry())
    kind = Parser if "parse" in sys.argv else Decoder
    decoder = kind(limits, 1 << 30, SecondLine(shared_rules()) if "redact" in sys.argv else None)
    ingest = Ingest(Nowhere(), decoder, ComponentRates(0), stats, time.time_ns)  # type: ignore[arg-type]
    http, grpc = _bound(), _bound()
    exports = Exports(ingest, _open, no_configuration)
    servers = (
        build_http_server(http_app(exports, limits), limits, budget, http),
        build_grpc_server(exports, limits, budget, grpc),
    )
    for server in servers:
        await server.start()
    print(address_of(http), address_of(grpc), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(server.stop(1) for server in servers))


if __name__ == "__main__":
    uvloop.run(main())
