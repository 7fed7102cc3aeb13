"""Finding moments in the bytes that pass a proxy, however they are cut into pieces; and the proxy that stops there."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.frames import (
    Http1Answers,
    Http2Answers,
    Moment,
    PostgresAnswers,
    PostgresRequests,
    Splitter,
    Unsplit,
)
from tests.chaos.proxy import Connection, Proxy, Stop, When


def message(kind: bytes, payload: bytes) -> bytes:
    """Return a message of PostgreSQL's protocol."""
    return kind + struct.pack("!I", len(payload) + 4) + payload


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame of stream 1."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + struct.pack("!I", 1) + payload


STARTUP = message(b"", struct.pack("!I", 196608) + b"user\0me\0\0")
REQUESTS = [
    (STARTUP, None),
    (message(b"p", b"password\0"), None),
    (message(b"Q", b"BEGIN\0"), None),
    (message(b"Q", b"COPY log_records (time) FROM STDIN (FORMAT BINARY)\0"), Moment.COPY),
    (message(b"d", b"COMMIT" * 50), Moment.COPY_DATA),
    (message(b"c", b""), Moment.COPY_DONE),
    (message(b"Q", b"COMMIT\0"), Moment.COMMIT),
    (message(b"P", b"otel_1\0INSERT INTO log_count_deltas VALUES ($1)\0\0\0"), None),
    (message(b"P", b"otel_2\0COMMIT\0\0\0"), None),
    (message(b"B", b"\0otel_1\0\0\0\0\0"), None),
    (message(b"E", b"\0\0\0\0\0"), None),
    (message(b"B", b"\0otel_2\0\0\0\0\0"), None),
    (message(b"D", b"P\0"), None),
    (message(b"E", b"\0\0\0\0\0"), Moment.COMMIT),
    (message(b"S", b""), None),
    (message(b"B", b"\0otel_2\0\0\0\0\0"), None),
    (message(b"E", b"\0\0\0\0\0"), Moment.COMMIT),
    (message(b"P", b"otel_2\0BEGIN\0\0\0"), None),
    (message(b"B", b"\0otel_2\0\0\0\0\0"), None),
    (message(b"E", b"\0\0\0\0\0"), None),
    (message(b"X", b""), None),
]
ANSWERS = [
    (message(b"R", struct.pack("!I", 0)), None),
    (message(b"C", b"BEGIN\0"), None),
    (message(b"G", b"\x01\x00\x00"), None),
    (message(b"C", b"COPY 12\0"), Moment.COPIED),
    (message(b"C", b"COMMIT\0"), Moment.COMMITTED),
    (message(b"Z", b"I"), None),
]
HTTP2 = [
    (frame(4, 0, b""), None),
    (frame(1, 4, b"headers"), None),
    (frame(0, 0, b"data" * 40), None),
    (frame(1, 5, b"trailers"), Moment.ANSWER),
]
SPLITTERS = [(PostgresRequests, REQUESTS), (PostgresAnswers, ANSWERS), (Http2Answers, HTTP2)]


@pytest.mark.parametrize(("splitter", "pieces"), SPLITTERS)
@given(data=st.data())
def test_moments_are_found_however_the_bytes_come(
    splitter: type[Splitter], pieces: list[tuple[bytes, Moment | None]], data: st.DataObject
) -> None:
    """Cut anywhere: the same messages, in order, whole, with their moments."""
    stream = b"".join(piece for piece, _ in pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    feed = splitter().feed
    found = [
        piece for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) for piece in feed(stream[start:end])
    ]

    assert found == pieces


def test_an_answer_of_http_1() -> None:
    """Its first line tells; what follows in another piece is not a second answer."""
    feed = Http1Answers().feed

    assert list(feed(b"HTTP/1.1 200 OK\r\n\r\n{}")) == [(b"HTTP/1.1 200 OK\r\n\r\n{}", Moment.ANSWER)]
    assert list(feed(b"rest")) == [(b"rest", None)]


class Server:
    """Answers each line with itself; knows what it received."""

    def __init__(self) -> None:
        self.received = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while data := await reader.read(1000):
                self.received += data
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def proxied(**options: object) -> AsyncIterator[tuple[Server, Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a server, a proxy before it, and a connection through it."""
    answering = Server()
    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", port), **options)  # type: ignore[arg-type]
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield answering, proxy, reader, writer
    finally:
        writer.close()
        await proxy.close()
        server.close()


async def test_what_stalls_arrives_later_and_what_is_cut_never() -> None:
    """A stall loses nothing; a cut ends the connection."""
    async with proxied() as (_, proxy, reader, writer), asyncio.timeout(20):
        proxy.stall()
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), 0.1)
        proxy.resume()
        assert await reader.readexactly(4) == b"late"

        assert proxy.cut() == 1
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def test_withheld_answers_were_served() -> None:
    """The server has the request, the client has no answer."""
    async with proxied() as (server, proxy, reader, writer), asyncio.timeout(20):
        proxy.withhold_answers()
        writer.write(b"done")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), 0.1)
        assert server.received == b"done"


@pytest.mark.parametrize(
    ("when", "arrives"), [("before", b""), ("inside", b"HTTP/1.1"), ("after", b"HTTP/1.1 200 OK.")]
)
async def test_a_message_is_stopped_where_it_was_told(when: When, arrives: bytes) -> None:
    """Nothing, half or all of it is let through before the blow; then the connection is gone."""
    blows = []

    def blow(connection: Connection) -> None:
        blows.append(when)
        if when == "after":
            connection.abort()

    stop = Stop(when, blow)
    options = {"requests": Unsplit, "answers": Http1Answers, "stop_at": lambda _: stop}
    async with proxied(**options) as (_, _, reader, writer), asyncio.timeout(20):
        writer.write(b"HTTP/1.1 200 OK.")
        got = b""
        try:
            while piece := await reader.read(100):
                got += piece
        except ConnectionError:
            pass

    assert blows == [when]
    assert got == arrives
