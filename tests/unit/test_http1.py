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

from otel_ingest import connections, errors, http1_bounds
from otel_ingest.wire.codings import Decompressor
from tests.factories import log_record, logs_request
from tests.rig import BODY, MIB, Rig

WAIT_S = 20
HEAD = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
OTHER = logs_request([log_record(), log_record()]).SerializeToString()
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
    monkeypatch.setattr(http1_bounds, "HEADER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL_S", 0.05)
    async with rig_that_stores().http() as address, connected(address) as (reader, writer):
        writer.write(sent)
        trickling = asyncio.create_task(trickle(writer, b"X-a: b\r\n" if sent.endswith(HEAD) else b""))
        answer = await everything(reader)
        trickling.cancel()

        assert answer.count(OK) == sent.count(b"Content-Length")
        assert await works(address)


async def test_silence_after_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty line stops uvicorn's own clock, not ours."""
    monkeypatch.setattr(http1_bounds, "HEADER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL_S", 0.05)
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


async def test_what_was_whole_before_damage_is_answered() -> None:
    """Two exports and then noise, in one write: 200, 200, 400, and the end."""
    rig = rig_that_stores()
    async with rig.http() as address, connected(address) as (reader, writer):
        writer.write(GOOD + GOOD + b"noise\r\n\r\n")
        answers = await everything(reader)

    assert [line.split()[1] for line in answers.split(b"\r\n") if line.startswith(b"HTTP/")] == [b"200", b"200", b"400"]
    assert rig.requests() == {("http", "accepted"): 2}


@pytest.mark.parametrize("extra", [b"Connection: close\r\n", b""])
async def test_an_early_answer_is_read_by_a_peer_that_still_sends(extra: bytes) -> None:
    """413 before the body: the rest is taken and dropped, for a close would take the answer away with it."""
    async with rig_that_stores().http(body_bytes_max=MIB) as address, connected(address) as (reader, writer):
        writer.write(HEAD + extra + b"Content-Length: %d\r\n\r\n" % (20 * MIB))
        for _ in range(20):
            writer.write(bytes(MIB))
            await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert (b"connection: close" in answer) == bool(extra)
        if not extra:
            await reader.readuntil(b"limit is 1048576")
            writer.write(GOOD)
            assert (await reader.read(65536)).startswith(OK)


async def test_expecting_peers_are_told() -> None:
    """100 when the body is wanted; a refusal without it ends the connection: nobody knows what would follow."""
    rig = rig_that_stores()
    asking = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    async with rig.http(body_bytes_max=MIB) as address:
        async with connected(address) as (reader, writer):
            writer.write(asking % len(BODY))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
            assert (await reader.read(65536)).startswith(OK)
        async with connected(address) as (reader, writer):
            writer.write(asking % (2 * MIB))
            answer = await everything(reader)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close\r\n" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Content-Type: text/plain\r\n",
    ],
    ids=["h2c, as Java's client", "websocket", "the first of two types counts"],
)
async def test_what_clients_add(head: bytes) -> None:
    """An offer to speak something else is not taken, and costs neither the body nor the next request."""
    rig = rig_that_stores()
    requests = [HEAD + head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in (BODY, OTHER)]
    async with rig.http() as address, connected(address) as (reader, writer):
        writer.write(b"".join(requests))
        for _ in range(2):
            answer = await reader.readuntil(b"content-length: 0\r\n\r\n")
            assert answer.startswith(OK)
    assert rig.sink.rows == 3


@pytest.mark.parametrize(
    "request_",
    [
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ],
    ids=["CONNECT", "two transfer encodings", "two lengths"],
)
async def test_what_could_be_read_in_two_ways_is_refused(request_: bytes) -> None:
    """A proxy in front might read it in the other one."""
    async with rig_that_stores().http() as address, connected(address) as (reader, writer):
        writer.write(request_)
        assert (await everything(reader)).startswith(b"HTTP/1.1 400 ")


async def test_a_request_under_way_outlives_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request's headers do not come while this one is stored: it is answered, then the connection ends."""
    monkeypatch.setattr(http1_bounds, "HEADER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL_S", 0.05)
    rig = Rig()
    rig.batcher.start()
    async with rig.http() as address, connected(address) as (reader, writer):
        writer.write(GOOD + HEAD)
        await asyncio.wait_for(rig.sink.entered.wait(), WAIT_S)
        (connection,) = rig.http_server.connections
        await rig.until(lambda: connection._deaf)
        rig.sink.gate.set()
        answer = await everything(reader)

    assert answer.startswith(OK)
    assert b"connection: close\r\n" in answer


async def test_stopping_answers_what_was_accepted() -> None:
    """A whole request, and one whose body is on its way; who has sent nothing is closed at once."""
    rig = Rig()
    rig.batcher.start()
    async with (
        rig.http() as address,
        connected(address) as (idle, _),
        connected(address) as (whole, writer),
        connected(address) as (half, slow),
    ):
        writer.write(GOOD)
        slow.write(GOOD[:-1])
        await asyncio.wait_for(rig.sink.entered.wait(), WAIT_S)
        await rig.until(lambda: sum(one._current is not None for one in rig.http_server.connections) == 2)
        stopping = asyncio.create_task(rig.http_server.stop(WAIT_S))
        assert await everything(idle) == b""
        slow.write(GOOD[-1:])
        rig.sink.gate.set()
        for answer in (await everything(whole), await everything(half)):
            assert answer.startswith(OK)
            assert b"connection: close\r\n" in answer
        await stopping

    assert rig.requests() == {("http", "accepted"): 2}


async def test_the_end_of_the_grace_ends_no_export() -> None:
    """The connection is closed, nobody is answered; what was whole is still committed, counted and given back."""
    rig = Rig()
    rig.batcher.start()
    async with rig.http() as address, connected(address) as (reader, writer):
        writer.write(GOOD)
        await asyncio.wait_for(rig.sink.entered.wait(), WAIT_S)
        await rig.http_server.stop(0.01)
        assert await everything(reader) == b""
        rig.sink.gate.set()
        await rig.until(rig.requests)

    assert rig.requests() == {("http", "accepted"): 1}
    assert rig.budget.used_bytes == 0


async def test_a_peer_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests by the thousand whose answers nobody reads: the connection ends, others are served."""
    monkeypatch.setattr(http1_bounds, "UNREAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL_S", 0.05)
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
