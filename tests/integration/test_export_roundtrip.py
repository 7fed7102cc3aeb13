"""Nothing of OTLP is lost: any request that was taken comes out of the store equal, order aside."""

import asyncio
import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from otel_ingest.decode import decode
from otel_ingest.encode import encode
from otel_ingest.encode.json_format import to_json
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding, json_mapping, parse
from storage.batch import Batch
from storage.config import StorageConfig
from storage.encoding import row_encoder
from storage.engine import write_engine
from storage.export import pages
from storage.pages import ExportQuery
from storage.rows import ResourceRow, ScopeRow
from storage.sink import PostgresSink
from tests.equality import records_of
from tests.strategies import REQUESTS

LIMITS = Limits()
# `make roundtrip` raises it to 10,000 of each signal and encoding.
EXAMPLES = int(os.environ.get("ROUNDTRIP_EXAMPLES", "40"))


def batch(signal: Signal, body: bytes, encoding: Encoding) -> Batch:
    """Return what a request becomes; none of it may be rejected."""
    made = Batch(signal.table)
    encoder = row_encoder(signal.table)
    for item in decode(signal, parse(signal, body, encoding, LIMITS), received_ns=time.time_ns(), limits=LIMITS):
        assert not isinstance(item, Rejection), item
        if isinstance(item, ResourceRow):
            made.resources[item.id] = item
        elif isinstance(item, ScopeRow):
            made.scopes[item.id] = item
        else:
            made.add(item.time, encoder(item))
    return made


async def through(engine: AsyncEngine, sink: PostgresSink, signal: Signal, body: bytes, encoding: Encoding) -> Any:
    """Store a request in an empty table; return all that comes out."""
    async with engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {signal.table.name}"))
    (outcome,) = await sink.write([batch(signal, body, encoding)])
    assert not outcome.rejected
    found = signal.request_type()
    async for page in pages(engine, signal.table, ExportQuery()):
        found.MergeFrom(encode(page))
    return found


@pytest.mark.timeout(max(120, EXAMPLES))
@pytest.mark.parametrize("encoding", Encoding, ids=lambda e: e.name.lower())
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: s.name)
def test_what_came_in_comes_out(database_url: str, signal: Signal, encoding: Encoding) -> None:
    """Generated requests of each signal, as protobuf and as JSON."""
    runner = asyncio.Runner()
    engine = write_engine(StorageConfig(database_url))
    sink = PostgresSink(engine)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=REQUESTS[signal.name])
    def holds(request: Any) -> None:
        body = to_json(request) if encoding is Encoding.JSON else request.SerializeToString()
        found = runner.run(through(engine, sink, signal, body, encoding))
        assert records_of(found) == records_of(request)

    with runner:
        try:
            holds()
        finally:
            runner.run(engine.dispose())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), signal=st.sampled_from(SIGNALS))
def test_json_says_what_protobuf_says(data: st.DataObject, signal: Signal) -> None:
    """A request written as OTLP/JSON is read as the message it was."""
    request = data.draw(REQUESTS[signal.name])

    parsed = json_mapping.parse_whole(signal, to_json(request), LIMITS)

    assert not parsed.rejections
    assert parsed.message.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)
