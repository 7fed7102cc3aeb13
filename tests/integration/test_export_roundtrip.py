"""Nothing of OTLP is lost: any request that was taken over a socket comes out of the store equal, order aside."""

import asyncio
import functools
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from otel_ingest.encode import encode
from otel_ingest.encode.json_format import to_json
from otel_ingest.limits import Limits
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding, json_mapping
from storage.config import StorageConfig
from storage.engine import write_engine
from storage.export import pages
from storage.models import TABLES, batch_id_digests, request_digests
from storage.pages import ExportQuery
from storage.sink import PostgresSink
from tests.equality import records_of
from tests.rig import Rig
from tests.strategies import REQUESTS

LIMITS = Limits()
# `make roundtrip` raises it to 10,000 of each signal and transport.
EXAMPLES = int(os.environ.get("ROUNDTRIP_EXAMPLES", "40"))
# Requests that are sent, exported and compared together; one that comes out wrong is then looked for alone.
TOGETHER = 250
_AT_A_TIME = 16

Send = Callable[[Any], Awaitable[Any]]
"""Sends one request; returns the answer's partial_success."""


class Way:
    """One transport into one store, and the export out of it."""

    def __init__(self, engine: AsyncEngine, signal: Signal, send: Send) -> None:
        self._engine = engine
        self._signal = signal
        self._send = send
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    async def holds(self, requests: list[Any]) -> bool:
        """Return whether an empty store to which requests were sent exports what they say."""
        tables = ", ".join([*TABLES, *(t.name for t in (*request_digests, *batch_id_digests))])
        async with self._engine.begin() as connection:
            await connection.execute(text(f"TRUNCATE {tables}"))
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(self._taken(request))
        found = self._signal.request_type()
        async for page in pages(self._engine, self._signal.table, ExportQuery()):
            found.MergeFrom(encode(page))
        return records_of(found) == sum((records_of(r) for r in requests), Counter())

    async def _taken(self, request: Any) -> None:
        async with self._turns:
            refused = await self._send(request)
        assert not refused.ListFields(), (refused, request)


@asynccontextmanager
async def way(engine: AsyncEngine, signal: Signal, transport: str) -> AsyncIterator[Way]:
    """Serve a receiver on a real socket over ``engine``'s database; yield the way into it and out."""
    rig = Rig(store=PostgresSink(engine))
    rig.batcher.start()
    try:
        if transport == "grpc":
            async with rig.grpc() as channel:
                method = channel.unary_unary(f"/{signal.service}/Export")

                async def call(request: Any) -> Any:
                    return signal.response_type.FromString(await method(request.SerializeToString())).partial_success

                yield Way(engine, signal, call)
        else:
            encoding = Encoding.JSON if transport == "http-json" else Encoding.PROTOBUF
            async with rig.http() as address, httpx2.AsyncClient(timeout=60) as client:

                async def post(request: Any) -> Any:
                    body = to_json(request) if encoding is Encoding.JSON else request.SerializeToString()
                    headers = {"Content-Type": encoding.value}
                    answer = await client.post(f"http://{address}{signal.path}", content=body, headers=headers)
                    assert answer.status_code == 200, answer.text
                    if encoding is Encoding.JSON:
                        assert answer.content == b"{}", answer.text
                        return signal.response_type().partial_success
                    return signal.response_type.FromString(answer.content).partial_success

                yield Way(engine, signal, post)
    finally:
        await rig.batcher.close(10)


@functools.cache
def generated(signal: Signal, count: int) -> list[Any]:
    """Return so many requests, each another than the rest; the same ones for every transport."""
    found: dict[bytes, Any] = {}

    @settings(
        max_examples=count + count // 5,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(request=REQUESTS[signal.name])
    def take(request: Any) -> None:
        found[request.SerializeToString(deterministic=True)] = request

    take()
    return list(found.values())[:count]


@pytest.mark.timeout(max(120, EXAMPLES))
@pytest.mark.parametrize("transport", ["http-protobuf", "http-json", "grpc"])
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: s.name)
async def test_what_came_in_comes_out(database_url: str, signal: Signal, transport: str) -> None:
    """Generated requests of each signal through the receiver's socket, PostgreSQL and the export."""
    requests = generated(signal, EXAMPLES)
    engine = write_engine(StorageConfig(database_url))
    try:
        async with way(engine, signal, transport) as it:
            for start in range(0, len(requests), TOGETHER):
                some = requests[start : start + TOGETHER]
                if not await it.holds(some):
                    wrong = [r for r in some if not await it.holds([r])]
                    raise AssertionError(f"{len(wrong)} came out changed, the first of them: {wrong[:1]}")
    finally:
        await engine.dispose()
    print(f"{len(requests)} {signal.name} requests over {transport}, {sum(map(_size, requests))} records: equal")
    assert len(requests) >= 0.9 * EXAMPLES


def _size(request: Any) -> int:
    return sum(records_of(request).values())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), signal=st.sampled_from(SIGNALS))
def test_json_says_what_protobuf_says(data: st.DataObject, signal: Signal) -> None:
    """A request written as OTLP/JSON is read as the message it was."""
    request = data.draw(REQUESTS[signal.name])

    parsed = json_mapping.parse_whole(signal, to_json(request), LIMITS)

    assert not parsed.rejections
    assert parsed.message.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)
