"""Bad input against a real server: it stays up, its memory stays bounded, what is good is stored."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests import harness
from tests.contract.client import Target
from tests.contract.conformance import JSON, MIB, PB, document, nested_value, rejected_grpc, rejected_http
from tests.factories import attributes, log_record, logs_request

RSS_BYTES_MAX = 512 * MIB
GOOD = 9_999


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """Yield one server; at the end of all its tests the ledger balances."""
    with harness.running(tmp_path_factory.mktemp("bad") / "data") as running:
        yield running
        running.assert_balanced()


def stored(server: harness.Server) -> int:
    """Return how many log records were stored so far."""
    return server.ledger()["logs"]["stored"]


def test_parallel_bombs(server: harness.Server) -> None:
    """16 gzip bombs of more than 64 MiB at once: each refused, memory bounded, a good request stored right after."""
    bomb = gzip.compress(bytes(65 * MIB))
    peaks: list[int] = []

    def send(_: int) -> int:
        status, _body = server.post("/v1/logs", bomb, PB, Content_Encoding="gzip")
        peaks.append(server.rss_bytes())
        return status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(send, range(16)))

    assert set(statuses) <= {413, 429, 503}
    assert max(peaks) < RSS_BYTES_MAX
    counted = {k: v for k, v in server.metrics().items() if k.startswith("otel_ingest_requests_total{")}
    assert sum(v for k, v in counted.items() if 'outcome="refused"' in k or 'outcome="failed"' in k) == 16
    assert server.post("/v1/logs", logs_request([log_record()]).SerializeToString(), PB)[0] == 200


def test_deep_values(server: harness.Server) -> None:
    """10,000 arrays in each other, in JSON and on the wire: that record is rejected, its neighbours are stored."""
    before = stored(server)
    target = Target(server, server)
    deep = b'{"arrayValue":{"values":[' * 10_000 + b'{"stringValue":"x"}' + b"]}}" * 10_000
    sent = document(body={"stringValue": "DEEP"})
    records = sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    records += [json.loads(json.dumps(records[0]).replace("DEEP", "good"))]
    text = json.dumps(sent).encode().replace(b'{"stringValue": "DEEP"}', deep)

    rejected_http(target.post("/v1/logs", text, JSON))
    value = b""
    for _ in range(10_000):  # ArrayValue{values: AnyValue{array_value: …}}, built from the inside
        inner = length_delimited(1, value)
        value = length_delimited(5, inner)
    record = length_delimited(5, value)
    request = length_delimited(1, length_delimited(2, length_delimited(2, record) + length_delimited(2, b"")))
    rejected_http(target.post("/v1/logs", request, PB))

    assert stored(server) == before + 2


def length_delimited(number: int, payload: bytes) -> bytes:
    """Return one field of the wire format."""
    size, length = len(payload), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


def test_a_million_attributes(server: harness.Server) -> None:
    """One record with a million attributes among good ones costs only itself."""
    many = log_record()
    many.attributes.extend(KeyValue(key=f"k{i}", value=AnyValue(int_value=1)) for i in range(1_000_000))
    before = stored(server)

    answer = Target(server, server).post("/v1/logs", logs_request([log_record(), many]).SerializeToString(), PB)

    assert "attributes" in rejected_http(answer) or "larger" in rejected_http(answer)
    assert stored(server) == before + 1
    assert server.rss_bytes() < RSS_BYTES_MAX


def test_times_at_the_edges(server: harness.Server) -> None:
    """0 means not given and is stored; 2^64-1 is rejected with its reason."""
    records = [log_record(time_unix_nano=0), log_record(time_unix_nano=2**64 - 1)]

    answer = Target(server, server).post("/v1/logs", logs_request(records).SerializeToString(), PB)

    assert "time out of range" in rejected_http(answer)


def _invalid_utf8(data: bytes) -> bytes:
    return data.replace(b"UNIQUEMARK", b"\xff" * 10)


POISONS: dict[str, tuple[dict[str, Any], Callable[[bytes], bytes], int]] = {
    "id length": ({"trace_id": b"abc"}, bytes, 1),
    "invalid UTF-8": ({"body": AnyValue(string_value="UNIQUEMARK")}, _invalid_utf8, 1),
    "NUL, which is valid": ({"body": AnyValue(string_value="a\0b")}, bytes, 0),
    "depth": ({"body": nested_value(45)}, bytes, 1),
    "time": ({"time_unix_nano": 2**63}, bytes, 1),
    "size": ({"body": AnyValue(string_value="x" * 9 * MIB)}, bytes, 1),
    "attributes": ({"attributes": attributes(**{f"k{i}": i for i in range(10_001)})}, bytes, 1),
}


@pytest.mark.parametrize("kind", POISONS)
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_one_poison_record_among_ten_thousand(server: harness.Server, kind: str, transport: str) -> None:
    """9,999 stored, 1 rejected, whatever is wrong with it."""
    fields, spoil, rejected = POISONS[kind]
    now = time.time_ns()
    records = [log_record(time_unix_nano=now + i) for i in range(GOOD)]
    records.insert(5_000, log_record(**fields))
    data = spoil(logs_request(records).SerializeToString())
    before = stored(server)
    target = Target(server, server)

    if transport == "http":
        answer = target.post("/v1/logs", data, PB)
        assert answer.status == 200
        if rejected:
            assert "#5000" in rejected_http(answer)
    else:
        answer_bytes = target.call("logs", data)
        if rejected:
            rejected_grpc(answer_bytes)

    assert stored(server) == before + GOOD + 1 - rejected
