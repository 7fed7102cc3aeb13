"""Accounting, limits and codings at the edges of the receiver, against a sink that the test holds shut."""

import asyncio
import time
import zlib
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from otel_ingest import errors
from otel_ingest.answers import TABLE
from otel_ingest.batcher import FLUSH_BYTES_MAX, Batcher
from otel_ingest.budget import Budget
from otel_ingest.grpc_server import build_grpc_server
from otel_ingest.http_app import HttpApp
from otel_ingest.ingest import Ingest
from otel_ingest.levels import no_configuration
from otel_ingest.limits import Limits
from otel_ingest.signals import LOGS
from otel_ingest.stats import ReceiverStats
from otel_ingest.wire import Encoding
from otel_ingest.wire.codings import PIECE_BYTES_MAX, Decompressor
from storage.api import Outcome
from storage.batch import Batch
from tests.factories import batch_of, log_record, log_row, logs_request

MIB = 1024 * 1024
BODY = logs_request([log_record()]).SerializeToString()
PB = (b"content-type", b"application/x-protobuf")
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


async def everyone(_: str | None) -> None:
    """Let any sender in."""


class Rig:
    """The write side from transport to sink, without PostgreSQL."""

    def __init__(self, inflight_bytes: int = 256 * MIB) -> None:
        self.sink = HeldSink()
        self.stats = ReceiverStats(CollectorRegistry())
        self.batcher = Batcher(self.sink, self.stats, writers=1, queue_bytes_max=256 * MIB)
        self.budget = Budget(inflight_bytes)
        self.ingest = Ingest(self.batcher, Limits(), self.stats, time.time_ns)

    def requests(self) -> dict[tuple[str, str], int]:
        """Return {(transport, outcome): requests} of logs."""
        return {key[1:]: count for key, count in self.stats._requests.items()}

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


async def test_a_sender_that_goes_away_is_counted_as_stored() -> None:
    """What was committed is in the ledger as stored, though nobody waits for the answer any more."""
    rig = Rig()
    rig.batcher.start()
    export = asyncio.create_task(rig.ingest.export(LOGS, BODY, Encoding.PROTOBUF, "grpc"))
    await asyncio.wait_for(rig.sink.entered.wait(), 5)

    export.cancel()
    with pytest.raises(asyncio.CancelledError):
        await export
    rig.sink.gate.set()
    await rig.batcher.close()

    assert rig.sink.rows == 1
    assert rig.stats.ledger()["logs"] == {"received": 1, "stored": 1, "rejected": 0, "refused": 0, "duplicate": 0}
    assert rig.requests() == {("grpc", "accepted"): 1}


async def test_requests_refused_before_decoding_are_counted() -> None:
    """Over the budget, of an unknown type, too large: each is one request with its outcome."""
    rig = Rig(inflight_bytes=MIB)

    assert await rig.post(bytes(MIB), PB) == 429
    assert await rig.post(b"", (b"content-type", b"text/plain")) == 415
    assert await rig.post(b"", PB, (b"content-length", b"99999999")) == 413

    assert rig.requests() == {("http", "refused"): 1, ("http", "failed"): 2}
    assert rig.budget.used_bytes == 0


async def test_one_byte_over_the_limit_is_not_retryable_over_grpc() -> None:
    """64 MiB + 1: RESOURCE_EXHAUSTED without RetryInfo, as one MiB over is."""
    rig = Rig()
    server, port = build_grpc_server(rig.ingest, everyone, Limits(), rig.budget, no_configuration, "127.0.0.1:0")
    await server.start()
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(EXPORT)(bytes(64 * MIB + 1), timeout=30)
    await server.stop(None)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" not in dict(caught.value.trailing_metadata() or ())


async def test_a_group_commit_is_bounded() -> None:
    """The first batch of a group counts towards its bytes too."""
    rig = Rig()
    row = log_row(body="x" * (6 * MIB))
    waiting = [asyncio.create_task(rig.batcher.submit(batch_of([row, row]))) for _ in range(3)]
    rig.sink.gate.set()
    rig.batcher.start()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    await rig.batcher.close()

    assert len(rig.sink.sizes) == 3
    assert max(rig.sink.sizes) <= FLUSH_BYTES_MAX


@pytest.mark.parametrize("wbits", [-15, 15, 31], ids=["raw", "zlib", "gzip"])
def test_bodies_just_over_a_piece_are_whole(wbits: int) -> None:
    """Output that zlib still holds when its input is used up is not lost."""
    for size in range(PIECE_BYTES_MAX - 2, PIECE_BYTES_MAX + 300):
        stream = zlib.compressobj(wbits=wbits)
        data = stream.compress(bytes(size)) + stream.flush()
        decompressor = Decompressor("gzip" if wbits > 15 else "deflate", 64 * MIB)
        assert sum(len(piece) for piece in decompressor.feed(data)) == size
        decompressor.finish()


def test_every_error_has_an_answer() -> None:
    """Each error a sender can meet is in the table; transient ones, and only they, say when to try again."""
    leaves = [*errors.RequestError.__subclasses__(), *errors.TransientError.__subclasses__()]

    assert set(TABLE) == set(leaves)
    for kind, answer in TABLE.items():
        assert (answer.retry_s is not None) == issubclass(kind, errors.TransientError)
        assert answer.http not in {408, 500}
