"""Decoding beside the event loop: the same rows, bounded memory, and nobody waits for a large body."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from otel_ingest import decoder as decoder_module
from otel_ingest import errors, native
from otel_ingest.decoder import Decoder
from otel_ingest.decoding import Decoded, Decoding
from otel_ingest.limits import Limits
from otel_ingest.signals import LOGS, METRICS
from otel_ingest.wire import Encoding
from tests.contract.conformance import document
from tests.factories import log_record, logs_request
from tests.rig import MIB

PROTOBUF, JSON = Encoding.PROTOBUF, Encoding.JSON
NOW_NS = time.time_ns()


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    """Yield a decoder with 192 MiB for its process, ended after the test."""
    made = Decoder(Limits(), 192 * MIB)
    yield made
    await made.close()


def here(body: bytes, encoding: Encoding, limits: Limits | None = None) -> Decoded:
    """Decode in this process, in one go."""
    decoding = Decoding(LOGS, body, encoding, limits or Limits(), NOW_NS)
    while decoding.turn(1_000_000):
        pass
    return decoding.decoded


def large_protobuf() -> bytes:
    """Return some 3 MiB of records of two components, some of them bad."""
    records = [log_record(body={"string_value": f"{n} " + "x" * 500}) for n in range(3_000)]
    records[7].trace_id = b"short"
    records[2_999].trace_id = b"short"
    both = logs_request(records)
    both.MergeFrom(logs_request(records[:2_000], service="other"))
    return bytes(both.SerializeToString())


def large_json(records: int = 20_000) -> bytes:
    """Return a request of many records, the third one bad."""
    sent = document(body={"stringValue": "hello"})
    scope = sent["resourceLogs"][0]["scopeLogs"][0]
    scope["logRecords"] = [dict(scope["logRecords"][0]) for _ in range(records)]
    scope["logRecords"][2]["traceId"] = "abc"
    return json.dumps(sent).encode()


@pytest.mark.parametrize(("make", "encoding"), [(large_protobuf, PROTOBUF), (large_json, JSON)])
async def test_large_bodies_become_the_same_rows(decoder: Decoder, make: object, encoding: Encoding) -> None:
    """Rows, positions, rejections, days, resources, scopes and who sent how much are those of decoding here."""
    body = make()  # type: ignore[operator]
    assert len(body) > decoder_module._HERE_BYTES_MAX[encoding]

    assert await decoder.decode(LOGS, body, encoding, NOW_NS) == here(body, encoding)
    assert decoder._process._running is not None


async def test_small_bodies_start_no_process(decoder: Decoder) -> None:
    """What SDKs send is decoded here."""
    decoded = await decoder.decode(LOGS, logs_request([log_record()] * 512).SerializeToString(), PROTOBUF, NOW_NS)

    assert len(decoded.batch.rows) == 512
    assert decoder._process._running is None


async def test_others_go_on_beside_a_large_body(decoder: Decoder) -> None:
    """A hundred small requests are decoded before the large one that came first."""
    body, small = large_json(100_000), logs_request([log_record()]).SerializeToString()
    large = asyncio.create_task(decoder.decode(LOGS, body, JSON, NOW_NS))
    for _ in range(100):
        await decoder.decode(LOGS, small, PROTOBUF, NOW_NS)
        await asyncio.sleep(0)

    assert not large.done()
    assert len((await large).batch.rows) == 99_999


needs_library = pytest.mark.skipif(not native.available, reason="no C compiler made the library")
EMPTY = {
    "16 million records": (b"\x0a\x85\x80\x80\x10\x12\x80\x80\x80\x10" + b"\x12\x00" * (16 * MIB), PROTOBUF),
    "10 million JSON records": (
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}' + b",{}" * (10 * MIB) + b"]}]}]}",
        JSON,
    ),
}


@needs_library
@pytest.mark.parametrize("kind", EMPTY)
async def test_of_millions_of_empty_records_as_many_are_stored_as_of_any(decoder: Decoder, kind: str) -> None:
    """They take no memory before they are rows."""
    decoded = await decoder.decode(LOGS, *EMPTY[kind], NOW_NS)

    assert len(decoded.batch.rows) == Limits().records_max
    assert sum(r.count for r in decoded.rejections) > 9 * MIB


# What no SDK sends (a field of a later OTLP, a number that is none) is parsed whole.
HOSTILE = {
    "16 million empty records": (
        b"\x0a\x87\x80\x80\x10\x12\x82\x80\x80\x10\x78\x01" + b"\x12\x00" * (16 * MIB),
        PROTOBUF,
    ),
    "10 million empty JSON records": (
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"1"}' + b",{}" * (10 * MIB) + b"]}]}]}",
        JSON,
    ),
    "10 million empty arrays": (b'{"resourceLogs":[' + b"[]," * (10 * MIB) + b"[]]}", JSON),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_what_takes_too_much_memory_is_refused_for_good(decoder: Decoder, kind: str) -> None:
    """The process says so and goes on with the next one."""
    body, encoding = HOSTILE[kind]
    with pytest.raises((errors.RequestTooLarge, errors.MalformedRequest)) as caught:
        await decoder.decode(LOGS, body, encoding, NOW_NS)

    assert "memory" in str(caught.value)
    assert len((await decoder.decode(LOGS, large_protobuf(), PROTOBUF, NOW_NS)).batch.rows) == 4_997


async def test_many_small_records_are_decoded_elsewhere(decoder: Decoder) -> None:
    """200,000 empty records in 400 KB would be 2 s of the event loop."""
    body = logs_request([log_record()]).SerializeToString()
    body = logs_request([{}] * 200_000).SerializeToString()  # type: ignore[list-item]
    assert len(body) < decoder_module._HERE_BYTES_MAX[PROTOBUF]

    assert len((await decoder.decode(LOGS, body, PROTOBUF, NOW_NS)).batch.rows) == 200_000
    assert decoder._process._running is not None


async def test_garbage_is_told_as_here(decoder: Decoder) -> None:
    """The error of the process is the error of decoding here, with its field."""
    body = b"{" * MIB
    with pytest.raises(errors.MalformedRequest) as elsewhere:
        await decoder.decode(LOGS, body, JSON, NOW_NS)
    with pytest.raises(errors.MalformedRequest) as local:
        here(body, JSON)

    assert str(elsewhere.value) == str(local.value)
    assert elsewhere.value.field == local.value.field


async def test_a_process_that_is_killed_costs_a_retry(decoder: Decoder) -> None:
    """SIGKILL in the middle: transient, and the next one is decoded by a new process."""
    body = large_json(100_000)
    large = asyncio.create_task(decoder.decode(LOGS, body, JSON, NOW_NS))
    while (process := decoder._process._running) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(errors.StoreUnavailable):
        await large

    assert len((await decoder.decode(LOGS, large_protobuf(), PROTOBUF, NOW_NS)).batch.rows) == 4_997


async def test_a_process_that_crashes_costs_its_request(decoder: Decoder) -> None:
    """SIGSEGV: the body is to blame, and sending it again would not help."""
    large = asyncio.create_task(decoder.decode(LOGS, large_json(100_000), JSON, NOW_NS))
    while (process := decoder._process._running) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    os.kill(process.pid, signal.SIGSEGV)

    with pytest.raises(errors.RequestTooLarge):
        await large


async def test_an_idle_process_ends(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives its memory back; ending the server ends it too."""
    monkeypatch.setattr(decoder_module, "_IDLE_TIMEOUT_S", 0.0)
    running = asyncio.create_task(decoder.decode(LOGS, large_protobuf(), PROTOBUF, NOW_NS))
    while (process := decoder._process._running) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await running

    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert len((await decoder.decode(LOGS, large_protobuf(), PROTOBUF, NOW_NS)).batch.rows) == 4_997


@pytest.mark.parametrize("encoding", list(Encoding))
def test_records_past_the_limit_are_rejected(encoding: Encoding) -> None:
    """The first ones are stored; the rest is one rejection that says what to do."""
    records = [log_record() for _ in range(10)]
    records[1].trace_id = b"short"
    body = logs_request(records).SerializeToString() if encoding is PROTOBUF else large_json(10)

    decoded = here(body, encoding, Limits(records_max=4))

    rejected = sum(rejection.count for rejection in decoded.rejections)
    assert len(decoded.batch.rows) + rejected == 10
    assert 3 <= len(decoded.batch.rows) <= 4
    assert "send smaller batches" in decoded.rejections[-1].reason


def test_a_million_rejections_are_counted_not_kept() -> None:
    """Reasons are bounded; the sum is right."""
    body = logs_request([log_record(trace_id=b"short")] * 5_000).SerializeToString()

    decoded = here(body, PROTOBUF)

    assert len(decoded.rejections) == 1_000
    assert sum(rejection.count for rejection in decoded.rejections) == 5_000


def test_bytes_by_component() -> None:
    """All bytes are somebody's."""
    decoded = here(large_protobuf(), PROTOBUF)

    assert set(decoded.bytes_by_component) == {"shop", "other"}
    assert sum(decoded.bytes_by_component.values()) == decoded.batch.size_bytes
    assert decoded.bytes_by_component["shop"] > decoded.bytes_by_component["other"] > 0


def test_metrics_count_data_points() -> None:
    """A metric without data is no record."""
    request = METRICS.request_type()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="empty")
    metrics.add(name="full").gauge.data_points.add()
    metrics[1].gauge.data_points.add()

    decoding = Decoding(METRICS, request.SerializeToString(), PROTOBUF, Limits(records_max=1), NOW_NS)

    assert decoding.records == 2
    assert not decoding.turn(100)
    assert (len(decoding.decoded.batch.rows), decoding.decoded.rejections[0].count) == (1, 1)
