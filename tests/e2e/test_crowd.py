"""Thousands of connections: none of them stops the others, and memory stays within its bound."""

import asyncio
import resource
from collections.abc import Iterator

import grpc
import pytest

from tests import harness
from tests.factories import log_record, logs_request

MIB = 1024 * 1024
MEMORY_BYTES_MAX = 512 * MIB
IDLE = 2_500
EXPORTERS = 1_000
RECORDS = 20
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process hold as many connections as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * IDLE:
        pytest.skip(f"the hard limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(tmp_path: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """Yield a server of its own."""
    with harness.running(tmp_path / "data") as running:  # type: ignore[operator]
        yield running


async def connect(address: str, greeting: bytes) -> asyncio.StreamWriter:
    """Return a connection on which ``greeting`` was sent."""
    host, port = address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(greeting)
    return writer


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
async def test_five_thousand_idle_connections(server: harness.Server) -> None:
    """Both transports go on as if they were not there."""
    idle = []
    for _ in range(IDLE // 100):
        idle += await asyncio.gather(*(connect(server.http, b"POST /v1/logs") for _ in range(100)))
        idle += await asyncio.gather(*(connect(server.grpc, HTTP2_GREETING) for _ in range(100)))
    body = logs_request([log_record()]).SerializeToString()

    async with grpc.aio.insecure_channel(server.grpc) as channel:
        assert await channel.unary_unary(EXPORT)(body, timeout=30) == b""
    status, _ = await asyncio.to_thread(server.post, "/v1/logs", body, "application/x-protobuf")
    memory = server.rss_bytes()
    for writer in idle:
        writer.close()

    assert status == 200
    assert len(idle) == 2 * IDLE
    assert memory < MEMORY_BYTES_MAX


async def export(address: str, number: int) -> int:
    """Send one request until it is stored; return how often it was refused. Each refusal says when to come back."""
    records = [log_record(body={"string_value": f"exporter {number}"})] * RECORDS
    body = logs_request(records, service=f"exporter-{number % 50}").SerializeToString()
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    refused = 0
    while True:
        writer.write(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split()[1]) for line in head.split("\r\n") if line.startswith("content-length"))
        await reader.readexactly(length)
        if " 200 " in head.split("\r\n", maxsplit=1)[0]:
            writer.close()
            return refused
        assert head.split()[1] in {"429", "503"}
        assert "retry-after: 1\r\n" in head
        refused += 1
        await asyncio.sleep(1)


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
async def test_a_thousand_exporters_at_once(server: harness.Server) -> None:
    """Each is stored, once."""
    await asyncio.gather(*(export(server.http, number) for number in range(EXPORTERS)))

    with server.sql() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT body) FROM log_records")
        assert cursor.fetchone() == (EXPORTERS * RECORDS, EXPORTERS)
    assert server.rss_bytes() < MEMORY_BYTES_MAX
