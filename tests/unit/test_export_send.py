"""Sending as an OTLP exporter does: what is tried again, what is split, what ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from starlette.requests import Request
from starlette.responses import Response

from otel_ingest.config import Endpoint
from otel_ingest.export.send import Sender, SendError
from otel_ingest.listener import HttpListener
from otel_ingest.signals import LOGS
from otel_ingest.sockets import bind
from tests.factories import log_record, logs_request


class Sink:
    """An OTLP/HTTP endpoint that answers as it is told, then takes everything."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.taken: list[int] = []
        self.headers: list[str | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        request = Request(scope, receive)
        await request.body()
        self.headers.append(request.headers.get("x-key"))
        if self.answers:
            await self.answers.pop(0)(scope, receive, send)
            return
        self.taken.append(int(request.headers["content-length"]))
        await Response(b"", 200)(scope, receive, send)


@asynccontextmanager
async def serving(sink: Sink) -> AsyncIterator[str]:
    """Yield the endpoint of a sink."""
    listener = HttpListener(sink, bind(Endpoint("127.0.0.1:0"), "http_endpoint"), drain_timeout_s=1)
    await listener.start()
    try:
        yield f"http://{listener.address}"
    finally:
        await listener.stop()


def refusal(status: int, **headers: str) -> Response:
    """Return an error as OTLP receivers send it."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return Response(Status(message="not now").SerializeToString(), status, named)


async def test_what_is_refused_for_now_is_sent_again() -> None:
    """429 and 503 with their delays, then taken; the headers go along each time."""
    sink = Sink(refusal(503, retry_after="0"), refusal(429, retry_after="0"))
    async with serving(sink) as endpoint, Sender(endpoint, {"x-key": "k"}) as sender:
        await sender.send(LOGS, logs_request([log_record()]))

    assert len(sink.taken) == 1
    assert sink.headers == ["k"] * 3


@pytest.mark.parametrize("status", [400, 401, 302, 500])
async def test_what_is_refused_for_good_ends_it(status: int) -> None:
    """The receiver's own words are in the error; a redirect is none of success."""
    sink = Sink(refusal(status))
    async with serving(sink) as endpoint, Sender(endpoint, {}) as sender:
        with pytest.raises(SendError, match=f"HTTP {status} not now"):
            await sender.send(LOGS, logs_request([log_record()]))


async def test_what_is_too_large_goes_in_halves() -> None:
    """413 splits by records, down to one, which cannot be split."""
    sink = Sink(refusal(413), refusal(413))
    request = logs_request([log_record() for _ in range(4)])
    async with serving(sink) as endpoint, Sender(endpoint, {}) as sender:
        await sender.send(LOGS, request)
        sink.answers = [refusal(413)]
        with pytest.raises(SendError, match="one record as too large"):
            await sender.send(LOGS, logs_request([log_record()]))

    assert len(sink.taken) == 3


async def test_an_endpoint_that_stays_away_is_an_error_in_the_end() -> None:
    """After the time for retries the last reason is told."""
    sock = bind(Endpoint("127.0.0.1:0"), "http_endpoint")
    port = sock.getsockname()[1]
    sock.close()
    async with Sender(f"http://127.0.0.1:{port}", {}, retry_s=0.0) as sender:
        with pytest.raises(SendError, match="did not take it"):
            await asyncio.wait_for(sender.send(LOGS, logs_request([log_record()])), 20)


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://x", "http://", ""])
def test_a_wrong_endpoint_is_told_at_once(endpoint: str) -> None:
    """The sentence shows what would be right."""
    with pytest.raises(SendError, match="for example http"):
        Sender(endpoint, {})
