"""The HTTP transport against slow, silent and greedy peers, on sockets of their own."""

import asyncio
import contextlib
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from otel_ingest import errors, http1, listener
from otel_ingest.wire.codings import Decompressor
from tests.rig import BODY, MIB, Rig

WAIT_S = 20
HEAD = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
OK = b"HTTP/1.1 200 OK"


def rig_that_stores() -> Rig:
    """Return a rig whose sink stores at once."""
    rig = Rig()
    rig.sink.gate.set()
    rig.batcher.start()
    return rig


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a connection."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(WAIT_S):
            while data := await reader.read(65536):
                received += data
    return received


async def works(address: str) -> bool:
    """Return whether a good request is stored now."""
    async with connected(address) as (reader, writer):
        writer.write(GOOD)
        async with asyncio.timeout(WAIT_S):
            return (await reader.read(65536)).startswith(OK)


def status_of(answer: bytes) -> dict[str, object]:
    """Return the google.rpc.Status of an answer in JSON."""
    return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X-Large: " + b"x" * 40_000 + b"\r\n\r\n",
        HEAD + b"X-Endless: " + b"x" * 500_000,
        HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        b"POST /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 900_000,
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % b"pipelined" * 9_000,
    ],
    ids=["one large", "one endless", "many", "target", "trailers", "chunk extension", "pipelined"],
)
async def test_headers_are_bounded(head: bytes) -> None:
    """431 with a Status, or the end of the connection; nothing else is touched."""
    async with rig_that_stores().http() as address:
        async with connected(address) as (reader, writer):
            writer.write(head)
            answer = await everything(reader)
        assert not answer or b"HTTP/1.1 431 " in answer
        assert OK not in answer
        assert await works(address)


async def test_what_is_no_http_is_told_as_a_status() -> None:
    """400 with a Status in JSON."""
    async with rig_that_stores().http() as address, connected(address) as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        answer = await everything(reader)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert status_of(answer)["code"] == 3


@pytest.mark.parametrize("sent", [b"", HEAD, b"\r\n", GOOD + HEAD], ids=["nothing", "some", "a line", "the next ones"])
async def test_headers_that_do_not_come(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed after a while, however the headers trickle; a request under way is not."""
    monkeypatch.setattr(http1, "HEADER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(listener, "SWEEP_INTERVAL_S", 0.05)
    async with rig_that_stores().http() as address, connected(address) as (reader, writer):
        writer.write(sent)
        trickling = asyncio.create_task(trickle(writer, b"X-a: b\r\n" if sent.endswith(HEAD) else b""))
        answer = await everything(reader)
        trickling.cancel()

        assert answer.count(OK) == sent.count(b"Content-Length")
        assert await works(address)


async def test_silence_after_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty line stops uvicorn's own clock, not ours."""
    monkeypatch.setattr(http1, "HEADER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(listener, "SWEEP_INTERVAL_S", 0.05)
    async with rig_that_stores().http() as address, connected(address) as (reader, writer):
        writer.write(GOOD)
        assert (await reader.read(65536)).startswith(OK)
        writer.write(b"\r\n")
        assert await everything(reader) == b""


async def trickle(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send a piece again and again."""
    while piece:
        writer.write(piece)
        await asyncio.sleep(0.05)


async def test_a_body_has_a_time_for_the_whole() -> None:
    """A byte now and then does not keep a request alive; 503 and Retry-After, and the connection ends."""
    rig = rig_that_stores()
    async with rig.http(body_timeout_s=0.3) as address, connected(address) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
        trickling = asyncio.create_task(trickle(writer, b"x"))
        answer = await everything(reader)
        trickling.cancel()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer
    assert rig.budget.used_bytes == 0


async def test_a_half_closed_connection_is_answered() -> None:
    """A sender that has said all it wants to still gets its answer."""
    async with rig_that_stores().http() as address, connected(address) as (reader, writer):
        writer.write(GOOD)
        writer.write_eof()
        assert (await everything(reader)).startswith(OK)


@pytest.mark.parametrize("how", ["reset", "half-closed"])
async def test_a_body_that_breaks_off(how: str) -> None:
    """Nothing of it is stored, nothing stays charged."""
    rig = rig_that_stores()
    async with rig.http() as address:
        async with connected(address) as (_, writer):
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY[:-1]))
            await rig.until(lambda: rig.budget.used_bytes > 0)
            if how == "reset":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.write_eof()
            await rig.until(lambda: rig.budget.used_bytes == 0)
        assert await works(address)

    assert rig.sink.rows == 1


async def test_a_peer_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests by the thousand whose answers nobody reads: the connection ends, others are served."""
    monkeypatch.setattr(http1, "UNREAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(listener, "SWEEP_INTERVAL_S", 0.05)
    async with rig_that_stores().http(send_buffer=4096) as address:
        host, port = address.split(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((host, int(port)))
        sock.setblocking(False)  # noqa: FBT003
        _, writer = await asyncio.open_connection(sock=sock)
        writer.transport.pause_reading()  # type: ignore[attr-defined]

        async def flood() -> None:
            while True:
                writer.write((b"GET / HTTP/1.1\r\nHost: x\r\nX-Pad: " + b"x" * 5_000 + b"\r\n\r\n") * 50)
                await writer.drain()

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0)
        assert await works(address)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flooding, WAIT_S)
        writer.close()


async def test_more_connections_than_allowed_are_closed() -> None:
    """The limit holds, and a place is free again once somebody leaves."""
    rig = rig_that_stores()
    async with rig.http(connections_max=1) as address:
        async with connected(address) as (reader, writer):
            writer.write(GOOD)
            assert (await reader.read(65536)).startswith(OK)
            async with connected(address) as (refused, _):
                assert await everything(refused) == b""
        async with asyncio.timeout(WAIT_S):
            while True:
                with contextlib.suppress(ConnectionResetError):
                    if await works(address):
                        break


async def test_an_unforeseen_error_of_the_authorizer_is_transient() -> None:
    """503 with Retry-After, and a bug for us to see."""
    rig = rig_that_stores()

    async def broken(_: str | None) -> None:
        raise ZeroDivisionError

    async with rig.http(broken) as address, connected(address) as (reader, writer):
        writer.write(GOOD)
        answer = await reader.read(65536)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer
    assert rig.stats.bugs._value.get() == 1
    assert rig.requests() == {("http", "refused"): 1}


async def test_a_component_past_its_rate_is_refused() -> None:
    """429 with Retry-After; the ledger balances."""
    rig = Rig(rate=1)
    rig.sink.gate.set()
    rig.batcher.start()
    async with rig.http() as address:
        answers = []
        for _ in range(2):
            async with connected(address) as (reader, writer):
                writer.write(GOOD)
                answers.append(await reader.read(65536))

    assert answers[0].startswith(OK)
    assert answers[1].startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1\r\n" in answers[1]
    book = rig.stats.ledger()["logs"]
    assert (book["received"], book["stored"], book["refused"]) == (2, 1, 1)


def test_compressed_input_and_members_are_bounded() -> None:
    """Empty gzip members, and a stream of empty blocks, that would decompress to nothing for ever."""
    empty = zlib.compressobj(wbits=31)
    member = empty.flush()
    decompressor = Decompressor("gzip", 64 * MIB)
    with pytest.raises(errors.MalformedRequest, match="members"):
        list(decompressor.feed(member * 1_000_000))

    stream = zlib.compressobj(wbits=31)
    block = stream.compress(b"") + stream.flush(zlib.Z_SYNC_FLUSH)
    filler = stream.flush(zlib.Z_SYNC_FLUSH) or b"\x00\x00\x00\xff\xff"
    decompressor = Decompressor("gzip", MIB)
    list(decompressor.feed(block))
    with pytest.raises(errors.RequestTooLarge, match="before decompression"):
        list(decompressor.feed(filler * 1_000_000))
