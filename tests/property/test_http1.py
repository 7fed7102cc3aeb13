"""The receiver's HTTP/1.1 on a wire that cuts, pipelines and damages, beside what the requests say and uvicorn does."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from otel_ingest import http1
from otel_ingest.budget import Budget
from otel_ingest.connections import TransportServer
from otel_ingest.listener import BoundedProtocol

EARLY = "/early"
TURNS = 12
REFUSED = (400, 431)
CLOSING_OFFER = (("Connection", "Upgrade, close"), ("Upgrade", "h2c"))


class Answer(NamedTuple):
    """One answer as a client reads it."""

    status: int
    body: bytes
    closes: bool


@dataclass(frozen=True)
class Sent:
    """One request, whole."""

    method: str
    path: str
    body: bytes
    chunks: tuple[int, ...] | None = None
    """Sizes of its chunks; None: it says its length."""
    version: str = "1.1"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def closes(self) -> bool:
        """Whether the connection ends with its answer."""
        return self.version == "1.0" or "close" in dict(self.headers).get("Connection", "")

    def encoded(self) -> bytes:
        """Return it as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/{self.version}", "Host: x", *(f"{n}: {v}" for n, v in self.headers)]
        if self.chunks is None:
            return "\r\n".join([*lines, f"Content-Length: {len(self.body)}", "", ""]).encode() + self.body
        head, at, pieces = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode(), 0, []
        for size in (*self.chunks, len(self.body)):
            if piece := self.body[at : at + size]:
                pieces.append(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece))
            at += size
        return head + b"".join(pieces) + b"0\r\nX-Trailer: y\r\n\r\n"

    def answer(self) -> Answer:
        """Return what is to be answered."""
        status, body = answer_to(self.method, self.path, self.body)
        return Answer(status, b"" if self.method == "HEAD" else body, self.closes)


def answer_to(method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Return status and body of what both servers serve: an echo, and a refusal before the body."""
    if path == EARLY:
        return 413, b"early"
    return 200, f"{method} {path} {hashlib.sha256(body).hexdigest()}".encode()


async def serve(request: http1.HttpRequest) -> None:
    """Answer on the receiver's protocol."""
    body = b""
    while request.path != EARLY and (piece := await request.read()) is not None:
        body += piece
    status, content = answer_to(request.method.decode(), request.path, body)
    request.respond(status, "text/plain", content)


async def app(scope: Any, receive: Callable[[], Coroutine[Any, Any, Any]], send: Any) -> None:
    """Answer on uvicorn's."""
    body, more = b"", scope["path"] != EARLY
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    status, content = answer_to(scope["method"], scope["path"], body)
    headers = [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class Wire(asyncio.Transport):
    """Both ends of a connection: pieces are given to the protocol while it reads, what it writes is kept."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.written, self.is_open, self.reads = b"", True, True
        self.half_closed = False
        self._protocol = protocol
        protocol.connection_made(self)

    async def send(self, pieces: list[bytes], *, eof: bool) -> None:
        """Give pieces to the protocol, and then the end of the peer's side."""
        waiting = deque(pieces)
        for _ in range(TURNS * (len(pieces) + 4)):
            if waiting and self.reads and self.is_open:
                self._protocol.data_received(waiting.popleft())
            await asyncio.sleep(0)
        if eof and self.is_open and not self._protocol.eof_received():
            self.close()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def lose(self) -> None:
        """End the connection without a word."""
        if self.is_open:
            self.is_open = False
            self._protocol.connection_lost(ConnectionResetError())

    def write(self, data: Any) -> None:
        """See asyncio."""
        assert not self.half_closed
        self.written += data if self.is_open else b""

    def close(self) -> None:
        """See asyncio."""
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        """See asyncio."""
        return not self.is_open

    def can_write_eof(self) -> bool:
        """See asyncio."""
        return True

    def write_eof(self) -> None:
        """See asyncio."""
        self.half_closed = True

    def pause_reading(self) -> None:
        """See asyncio."""
        self.reads = False

    def resume_reading(self) -> None:
        """See asyncio."""
        self.reads = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        """See asyncio."""
        return default

    def answers(self, methods: list[str]) -> list[Answer]:
        """Return what a client reads, who knows the methods it sent; an answer that is no HTTP fails."""
        left, found = self.written.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""), []
        while left:
            head, _, rest = left.partition(b"\r\n\r\n")
            status, *lines = head.lower().split(b"\r\n")
            headers = dict(line.split(b": ", 1) for line in lines)
            code = int(status.split()[1])
            is_head = len(found) < len(methods) and methods[len(found)] == "HEAD" and code not in REFUSED
            size = 0 if is_head else int(headers[b"content-length"])
            assert len(rest) >= size
            found.append(Answer(code, rest[:size], headers.get(b"connection") == b"close"))
            left = rest[size:]
        return found


class Ours:
    """The receiver's protocol on a wire."""

    def __init__(self) -> None:
        self.budget = Budget(1 << 30)
        self.server = TransportServer(None, lambda _: asyncio.Protocol(), connections_max=10)  # type: ignore[arg-type]
        self.wire = Wire(http1.Connection(self.server, self.budget, serve))

    @property
    def is_over(self) -> bool:
        """Whether the server has closed its side."""
        return not self.wire.is_open or self.wire.half_closed


_CONFIG = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
_CONFIG.load()


def theirs() -> Wire:
    """Return uvicorn's protocol on a wire."""
    return Wire(BoundedProtocol(config=_CONFIG, server_state=ServerState(), app_state={}))


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return data cut at places (taken modulo its length)."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


bodies = st.binary(max_size=60) | st.sampled_from([b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n", b"x" * 100_000])
requests = st.builds(
    Sent,
    method=st.sampled_from(["POST", "GET", "HEAD", "PUT"]),
    path=st.sampled_from(["/echo", "/echo/else", EARLY]),
    body=bodies,
    chunks=st.none() | st.lists(st.integers(1, 40), max_size=4).map(tuple),
    headers=st.sampled_from([(), (), (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"))]),
)
last_ones = st.builds(
    Sent,
    method=st.just("POST"),
    path=st.just("/last"),
    body=bodies,
    version=st.sampled_from(["1.0", "1.1"]),
    headers=st.sampled_from([(), (("Connection", "close"),), (("Expect", "100-continue"),), CLOSING_OFFER]),
)
cuts = st.lists(st.integers(0, 10_000), max_size=8)


@settings(max_examples=150, deadline=None)
@given(sent=st.lists(requests, max_size=4), last=st.none() | last_ones, cuts=cuts, eof=st.booleans())
def test_each_request_is_answered_once_and_in_order(
    sent: list[Sent], last: Sent | None, cuts: list[int], *, eof: bool
) -> None:
    """However they are cut and however many come at once: as uvicorn answers, and nothing stays charged."""
    everything = [*sent, last] if last is not None else sent
    data = b"".join(request.encoded() for request in everything)

    async def run() -> None:
        mine, other = Ours(), theirs()
        await mine.wire.send(pieces_of(data, cuts), eof=eof)
        await other.send(pieces_of(data, cuts), eof=eof)
        methods = [request.method for request in everything]
        answers = mine.wire.answers(methods)
        expected = [request.answer() for request in everything]
        assert [answer[:2] for answer in answers] == [answer[:2] for answer in expected]
        assert [answer[:2] for answer in other.answers(methods)] == [answer[:2] for answer in expected]
        closes = bool(everything) and everything[-1].closes
        assert mine.is_over == (closes or eof)
        assert [answer.closes for answer in answers if not eof] == [answer.closes for answer in expected if not eof]
        assert mine.budget.used_bytes == 0

    asyncio.run(run())


@settings(max_examples=250, deadline=None)
@given(
    # Damage moves requests: which of the answers is HEAD's, and has no body, could not be told.
    sent=st.lists(requests.filter(lambda request: request.method != "HEAD"), min_size=1, max_size=3),
    cuts=cuts,
    damage=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=3)), min_size=1, max_size=3),
    end=st.sampled_from(["eof", "reset", "open"]),
)
def test_damage_costs_what_is_behind_it(
    sent: list[Sent], cuts: list[int], damage: list[tuple[int, bytes]], end: str
) -> None:
    """What uvicorn answers is answered, and all that is whole before the damage; then 400 or the end."""
    data = bytearray(b"".join(request.encoded() for request in sent))
    for at, noise in damage:
        place = at % len(data)
        data[place : place + len(noise)] = noise
    first = min(at % len(data) for at, _ in damage)
    whole, length = 0, 0
    for request in sent:
        length += len(request.encoded())
        whole += length <= first

    async def run() -> None:
        mine, other = Ours(), theirs()
        await mine.wire.send(pieces_of(bytes(data), cuts), eof=end == "eof")
        await other.send(pieces_of(bytes(data), cuts), eof=end == "eof")
        if end == "reset":
            mine.wire.lose()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        methods = [request.method for request in sent]
        answers = mine.wire.answers(methods)
        good = [answer[:2] for answer in answers if answer.status not in REFUSED]
        assert good[:whole] == [request.answer()[:2] for request in sent[:whole]]
        said = [answer[:2] for answer in other.answers(methods)]
        refused = [answer for answer in said if answer[0] in REFUSED]
        said = [answer for answer in said if answer[0] not in REFUSED]
        assert good[: len(said)] == said
        if not refused:
            assert len(good) == len(said)
        assert all(answer.closes for answer in answers if answer.status in REFUSED)
        assert len(answers) - len(good) <= 1
        if end != "open":
            assert mine.is_over
            assert mine.budget.used_bytes == 0

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(sent=st.lists(requests, min_size=1, max_size=3), cuts=cuts, after=st.integers(0, 10_000))
def test_a_peer_that_vanishes_leaves_nothing(sent: list[Sent], cuts: list[int], after: int) -> None:
    """At any byte: no task, no charge, no place among the connections is left."""
    data = b"".join(request.encoded() for request in sent)

    async def run() -> None:
        mine = Ours()
        await mine.wire.send(pieces_of(data[: after % (len(data) + 1)], cuts), eof=False)
        mine.wire.lose()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert mine.budget.used_bytes == 0
        assert not mine.server.connections
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=80) | st.sampled_from([b"POST / HTTP/1.1\r\n", b"\r\n"]), max_size=8)
)
def test_any_bytes_at_all(pieces: list[bytes]) -> None:
    """At most one refusal, and the end with the peer's."""

    async def run() -> None:
        mine = Ours()
        await mine.wire.send(pieces, eof=True)
        statuses = [answer.status for answer in mine.wire.answers([])]
        assert set(statuses) <= {200, 400}
        assert 400 not in statuses[:-1]
        assert mine.is_over
        assert mine.budget.used_bytes == 0

    asyncio.run(run())
