"""Accounting, limits and codings at the edges of the receiver, against a sink that the test holds shut."""

import asyncio
import socket
import struct
import zlib

import grpc
import pytest

from otel_ingest import errors
from otel_ingest.answers import TABLE
from otel_ingest.batcher import FLUSH_BYTES_MAX
from otel_ingest.request import PeerGoneError
from otel_ingest.wire.codings import PIECE_BYTES_MAX, Decompressor
from tests.factories import batch_of, log_row
from tests.rig import BODY, EXPORT, MIB, Rig

PB = (b"content-type", b"application/x-protobuf")


STORED = {"received": 1, "stored": 1, "rejected": 0, "refused": 0, "duplicate": 0, "recovered": 0}


@pytest.mark.parametrize("how", ["http", "grpc cancelled", "grpc disconnected"])
async def test_a_sender_that_goes_away_is_counted_as_stored(how: str) -> None:
    """What was whole when its sender left is committed, counted as such, and charged to nobody afterwards."""
    rig = Rig()
    rig.batcher.start()
    if how == "http":
        async with rig.http() as address:
            host, port = address.split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
            await asyncio.wait_for(rig.sink.entered.wait(), 5)
            linger = struct.pack("ii", 1, 0)  # a reset: who only ends his side is still answered
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            await rig.until(lambda: not rig.http_server.connections)
            rig.sink.gate.set()
            await rig.until(rig.requests)
    else:
        async with rig.grpc() as channel:
            call = channel.unary_unary(EXPORT)(BODY)
            await asyncio.wait_for(rig.sink.entered.wait(), 5)
            (connection,) = rig.grpc_server.connections
            (stream,) = connection._streams.values()
            if how == "grpc cancelled":
                call.cancel()
            else:
                await channel.close()
            await rig.until(lambda: isinstance(stream._error, PeerGoneError))
            rig.sink.gate.set()
            await rig.until(rig.requests)
    await rig.batcher.close(5)

    assert rig.sink.rows == 1
    assert rig.stats.ledger()["logs"] == STORED
    assert rig.requests() == {(how.split(maxsplit=1)[0], "accepted"): 1}
    assert rig.budget.used_bytes == 0


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
    async with rig.grpc() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(EXPORT)(bytes(64 * MIB + 1), timeout=30)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" not in dict(caught.value.trailing_metadata() or ())


async def test_a_group_commit_is_bounded() -> None:
    """The first batch of a group counts towards its bytes too."""
    rig = Rig()
    row = log_row(body="x" * (FLUSH_BYTES_MAX * 3 // 8))
    waiting = [asyncio.create_task(rig.batcher.submit(batch_of([row, row]))) for _ in range(3)]
    rig.sink.gate.set()
    rig.batcher.start()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    await rig.batcher.close(5)

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
