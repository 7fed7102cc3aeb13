"""The gRPC transport against hostile peers: an HTTP/2 client of its own, so that it can break the rules."""

import asyncio
import contextlib
import gzip
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame

from otel_ingest import connections, errors, http2
from tests.factories import log_record, logs_request
from tests.rig import BODY, EXPORT, MIB, Rig, status_of

WAIT_S = 20


class Peer:
    """An HTTP/2 client that does as it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))

    def greet(self, **settings: int) -> None:
        """Send preface and settings."""
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings({SettingCodes[name.upper()]: value for name, value in settings.items()})
        self.flush()

    def call(self, *extra: tuple[str, str], path: str = EXPORT) -> int:
        """Send the headers of a call; return its stream."""
        stream = int(self.h2.get_next_available_stream_id())
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "x"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        self.h2.send_headers(stream, [*headers, *extra])
        self.flush()
        return stream

    def message(self, stream: int, body: bytes, length: int | None = None, *, end: bool = True) -> None:
        """Send one message, or what claims to be one of ``length``."""
        self.h2.send_data(stream, struct.pack(">BI", 0, len(body) if length is None else length) + body, end_stream=end)
        self.flush()

    def flush(self) -> None:
        """Write what h2 has to say."""
        self.writer.write(self.h2.data_to_send())

    async def until(self, kind: type[events.Event], stream: int | None = None) -> Any:
        """Return the first event of a kind (of a stream), or None when the connection ends before it."""
        async with asyncio.timeout(WAIT_S):
            while data := await self._read():
                for event in self.h2.receive_data(data):
                    if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None)):
                        return event
                self.flush()
        return None

    async def _read(self) -> bytes:
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read(65536)
        return b""

    async def status(self, stream: int) -> int:
        """Return the grpc-status of a call that was answered without a message."""
        event = await self.until(events.ResponseReceived, stream)
        return int(dict(event.headers)["grpc-status"])


@asynccontextmanager
async def peer(rig: Rig, **settings: int) -> AsyncIterator[Peer]:
    """Yield a greeted peer of the rig's gRPC server."""
    host, port = rig.grpc_address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = Peer(reader, writer)
    client.greet(**settings)
    try:
        yield client
    finally:
        writer.close()


async def nobody(_: str | None) -> None:
    """Turn every sender away."""
    raise errors.Unauthenticated("no")


async def broken(_: str | None) -> None:
    """Fail as nobody foresaw."""
    raise ZeroDivisionError


def good() -> Rig:
    """Return a rig whose sink stores at once."""
    rig = Rig()
    rig.sink.gate.set()
    rig.batcher.start()
    return rig


async def test_no_text_is_made_of_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """h2 asks for a text of each frame that comes, whose making copies and writes out all of a body."""

    def made(_: DataFrame) -> str:
        raise AssertionError("a text of a body was made")

    monkeypatch.setattr(DataFrame, "_body_repr", made)
    async with good().grpc() as channel:
        await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S)


async def test_authorised_before_the_body_is_read() -> None:
    """The answer is there though not a byte of the message came."""
    rig = good()
    async with rig.grpc(nobody), peer(rig) as client:
        assert await client.status(client.call()) == grpc.StatusCode.UNAUTHENTICATED.value[0]

    assert rig.requests() == {("grpc", "failed"): 1}


async def test_an_unforeseen_error_of_the_authorizer_is_transient() -> None:
    """UNAVAILABLE with RetryInfo, and a bug for us to see."""
    rig = good()
    async with rig.grpc(broken) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    retry = RetryInfo()
    assert status_of(caught.value).details[0].Unpack(retry)
    assert 1 <= retry.retry_delay.seconds <= 2
    assert rig.stats.bugs._value.get() == 1


async def test_a_declared_length_costs_nothing() -> None:
    """A call that announces 64 MiB and sends 1 KiB holds what it sent, and nothing once it is gone."""
    rig = good()
    async with rig.grpc(), peer(rig) as client:
        stream = client.call()
        client.message(stream, bytes(1024), length=64 * MIB, end=False)
        await rig.until(lambda: rig.budget.used_bytes > 0)
        assert rig.budget.used_bytes < 4096
        client.h2.reset_stream(stream)
        client.flush()
        await rig.until(lambda: rig.budget.used_bytes == 0)


async def test_a_body_past_the_budget_is_refused_while_it_comes() -> None:
    """RESOURCE_EXHAUSTED with RetryInfo, and what it held is free again."""
    rig = good()
    rig.budget.limit_bytes = MIB
    async with rig.grpc() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(EXPORT)(bytes(8 * MIB), timeout=WAIT_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert status_of(caught.value).details[0].Is(RetryInfo.DESCRIPTOR)
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""

    assert rig.budget.used_bytes == 0


async def test_bodies_larger_than_all_windows_arrive() -> None:
    """Flow control lets 20 MiB through, with eight at once on one connection."""
    rig = good()
    record = bytes(rig.large(20 * MIB))
    async with rig.grpc() as channel:
        call = channel.unary_unary(EXPORT)
        first = await call(record, timeout=60)
        rest = await asyncio.gather(*(call(record[: len(record)], timeout=60) for _ in range(2)))

    assert [first, *rest] == [b""] * 3
    assert rig.budget.used_bytes == 0


async def test_a_connection_outlives_many_windows() -> None:
    """Small calls are let through without a frame for each of them; together they are more than a window."""
    rig = good()
    async with rig.grpc(), peer(rig) as client:
        body = logs_request([log_record(body={"string_value": "x" * 15_000})]).SerializeToString()
        calls = 3 * http2._CONNECTION_WINDOW_BYTES // len(body)
        for _ in range(calls):
            stream = client.call()
            client.message(stream, body)
            assert await client.until(events.StreamEnded, stream) is not None
        assert client.h2.outbound_flow_control_window > http2._CONNECTION_WINDOW_BYTES // 2


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_stock_client_may_compress(coding: str) -> None:
    """Gzip and deflate, as grpc names them."""
    rig = good()
    kind = grpc.Compression.Gzip if coding == "gzip" else grpc.Compression.Deflate
    async with rig.grpc() as channel:
        assert await channel.unary_unary(EXPORT)(rig.large(MIB), timeout=WAIT_S, compression=kind) == b""

    assert rig.sink.rows > 0


async def test_a_bomb_is_refused_at_the_limit() -> None:
    """300 MiB in 300 KiB: refused for good once 64 MiB came out."""
    rig = good()
    bomb = gzip.compress(bytes(300 * MIB), 1)
    async with rig.grpc(), peer(rig) as client:
        stream = client.call(("grpc-encoding", "gzip"))
        client.h2.send_data(stream, struct.pack(">BI", 1, len(bomb)) + bomb[:16_000])
        client.flush()
        rest = bomb[16_000:]
        sending = asyncio.create_task(_pour(client, stream, rest))
        status = await client.status(stream)
        sending.cancel()

    assert status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert rig.budget.used_bytes == 0


async def _pour(client: Peer, stream: int, data: bytes) -> None:
    while data:
        room = min(client.h2.local_flow_control_window(stream), 16_000)
        if room:
            client.h2.send_data(stream, data[:room])
            client.flush()
            data = data[room:]
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("headers", "pieces", "code"),
    [
        ((), [b""], grpc.StatusCode.INVALID_ARGUMENT),
        ((), [b"\0\0\0"], grpc.StatusCode.INVALID_ARGUMENT),
        ((), [b"\0\0\0\0\5ab"], grpc.StatusCode.INVALID_ARGUMENT),
        ((), [b"\0\0\0\0\1ab"], grpc.StatusCode.INVALID_ARGUMENT),
        ((), [b"\0\0\0\0\1", b"a", b"b"], grpc.StatusCode.INVALID_ARGUMENT),
        ((), [b"\1\0\0\0\1a"], grpc.StatusCode.INVALID_ARGUMENT),
        ((("grpc-encoding", "gzip"),), [b"\1\0\0\0\1a"], grpc.StatusCode.INVALID_ARGUMENT),
        ((("grpc-encoding", "br"),), [b"\1\0\0\0\1a"], grpc.StatusCode.UNIMPLEMENTED),
    ],
    ids=["empty", "half a prefix", "short", "long", "two", "no coding", "not gzip", "brotli"],
)
async def test_broken_messages(headers: Sequence[tuple[str, str]], pieces: list[bytes], code: Any) -> None:
    """Each is told what is wrong, and the connection lives on."""
    rig = good()
    async with rig.grpc(), peer(rig) as client:
        stream = client.call(*headers)
        for n, piece in enumerate(pieces):
            client.h2.send_data(stream, piece, end_stream=n == len(pieces) - 1)
            client.flush()
            await asyncio.sleep(0)
        assert await client.status(stream) == code.value[0]
        again = client.call()
        client.message(again, BODY)
        assert await client.until(events.TrailersReceived, again)


async def test_what_is_not_grpc() -> None:
    """An unknown method is UNIMPLEMENTED; a web browser gets 415."""
    rig = good()
    async with rig.grpc(), peer(rig) as client:
        assert await client.status(client.call(path="/a.B/C")) == grpc.StatusCode.UNIMPLEMENTED.value[0]
        stream = client.h2.get_next_available_stream_id()
        headers = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
        client.h2.send_headers(stream, headers, end_stream=True)
        client.flush()
        assert dict((await client.until(events.ResponseReceived, stream)).headers)[":status"] == "415"


async def test_a_peer_that_never_lets_the_answer_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of 0 for the answer ends its call after a while, and nobody else's."""
    monkeypatch.setattr("otel_ingest.http2_stream.UNREAD_TIMEOUT_S", 0.2)
    rig = good()
    async with rig.grpc() as channel, peer(rig, initial_window_size=0) as client:
        stream = client.call()
        client.message(stream, BODY)
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""
        assert await client.until(events.StreamReset, stream)

    assert rig.budget.used_bytes == 0


async def test_a_peer_that_never_reads_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of pings whose answers nobody reads: reading stops, then the connection ends; others are served."""
    monkeypatch.setattr(http2, "UNREAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL_S", 0.05)
    rig = good()
    async with rig.grpc() as channel, peer(rig) as client:
        for _ in range(1_000):
            client.h2.ping(b"12345678")
        pings = client.h2.data_to_send()

        async def flood() -> None:
            while True:
                client.writer.write(pings)
                await client.writer.drain()

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0)
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flooding, WAIT_S)


async def test_rapid_reset_ends_the_connection() -> None:
    """Calls opened and cancelled by the thousand (CVE-2023-44487): ENHANCE_YOUR_CALM."""
    rig = good()
    async with rig.grpc() as channel, peer(rig) as client:
        for _ in range(1_000):
            client.h2.reset_stream(client.call())
            client.flush()
        gone = await client.until(events.ConnectionTerminated)
        assert gone is None or gone.error_code == 11
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""


async def test_headers_are_bounded() -> None:
    """More than 16 KiB of headers end the connection, as a bomb of one repeated entry does."""
    rig = good()
    async with rig.grpc():
        async with peer(rig) as client:
            client.call(("x-large", "x" * 20_000))
            assert await client.until(events.ConnectionTerminated)
        async with peer(rig) as client:
            client.call(*[("x-many", "x" * 1000)] * 17)
            assert await client.until(events.ConnectionTerminated)


@pytest.mark.parametrize(
    "header",
    [("te", "gzip"), ("connection", "close"), (":path", "/twice"), ("x-a", "with\nline"), ("x-A", "upper"), ("", "x")],
    ids=["te", "connection", "pseudo", "line", "upper", "nameless"],
)
async def test_malformed_headers_cost_their_call(header: tuple[str, str]) -> None:
    """RFC 9113, 8.1.1: the stream ends with PROTOCOL_ERROR, also where good ones of that connection are remembered."""
    rig = good()
    async with rig.grpc(), peer(rig) as client:
        client.h2.config.validate_outbound_headers = client.h2.config.normalize_outbound_headers = False
        for _ in range(2):
            for extra in ((), (header,)):
                stream = client.call(*extra)
                if extra:
                    assert (await client.until(events.StreamReset, stream)).error_code == 1
                else:
                    client.message(stream, BODY)
                    assert await client.until(events.TrailersReceived, stream)


async def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, and one without a call for long; not one with a call under way."""
    monkeypatch.setattr(connections, "SWEEP_INTERVAL_S", 0.05)
    monkeypatch.setattr(http2, "_PREFACE_TIMEOUT_S", 0.2)
    rig = good()
    async with rig.grpc():
        host, port = rig.grpc_address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(WAIT_S):
            await reader.read()
        writer.close()
        async with peer(rig) as client:
            assert await client.until(events.RemoteSettingsChanged)
            stream = client.call()
            monkeypatch.setattr(http2, "_IDLE_TIMEOUT_S", 0.2)
            await asyncio.sleep(0.5)
            client.message(stream, BODY)
            assert await client.until(events.TrailersReceived, stream)
            assert await client.until(events.ConnectionTerminated)


async def test_too_slow_a_body_is_refused() -> None:
    """The time is for the whole body, whatever trickles in; the sender may try again."""
    rig = good()
    async with rig.grpc(body_timeout_s=0.3), peer(rig) as client:
        stream = client.call()
        client.message(stream, b"", length=1000, end=False)

        async def trickle() -> None:
            while True:
                client.h2.send_data(stream, b"x")
                client.flush()
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert await client.status(stream) == grpc.StatusCode.UNAVAILABLE.value[0]
        trickling.cancel()


async def test_more_connections_than_allowed_are_closed() -> None:
    """The limit holds, and a place is free again once somebody leaves."""
    rig = good()
    async with rig.grpc(connections_max=1) as channel:
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""
        async with peer(rig) as client:
            assert await client.until(events.RemoteSettingsChanged) is None
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""


async def test_stopping_answers_what_was_accepted() -> None:
    """GOAWAY; the call under way is answered once it is stored; a new one goes elsewhere."""
    rig = Rig()
    rig.batcher.start()
    async with rig.grpc() as channel:
        call = asyncio.create_task(_call(channel))
        await asyncio.wait_for(rig.sink.entered.wait(), WAIT_S)
        stopping = asyncio.create_task(rig.grpc_server.stop(WAIT_S))
        await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        rig.sink.gate.set()
        assert await call == b""
        await stopping


async def test_the_end_of_the_grace_ends_no_export() -> None:
    """The connection is closed, nobody is answered; what was whole is still committed, counted and given back."""
    rig = Rig()
    rig.batcher.start()
    async with rig.grpc() as channel:
        call = asyncio.create_task(_call(channel))
        await asyncio.wait_for(rig.sink.entered.wait(), WAIT_S)
        await rig.grpc_server.stop(0.01)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        rig.sink.gate.set()
        await rig.until(rig.requests)

    assert rig.requests() == {("grpc", "accepted"): 1}
    assert rig.stats.ledger()["logs"]["stored"] == 1
    assert rig.budget.used_bytes == 0


async def _call(channel: grpc.aio.Channel) -> bytes:
    return bytes(await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S))


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100_000]
)
async def test_garbage_ends_its_connection_only(garbage: bytes) -> None:
    """Bytes that are no HTTP/2."""
    rig = good()
    async with rig.grpc() as channel:
        host, port = rig.grpc_address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        async with asyncio.timeout(WAIT_S):
            await reader.read()
        writer.close()
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""


async def test_thousands_of_unknown_frames() -> None:
    """Frames of no known type in one read end the connection at most, not the server."""
    rig = good()
    async with rig.grpc() as channel, peer(rig) as client:
        client.writer.write((b"\0\0\0\xee\0" + bytes(4)) * 30_000)
        client.call()
        client.h2.ping(b"12345678")
        client.flush()
        await client.until(events.PingAckReceived)
        assert await channel.unary_unary(EXPORT)(BODY, timeout=WAIT_S) == b""
