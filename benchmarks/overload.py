"""``make overload``: more than the server can commit, of several kinds: its resident memory, and what it answers.

Beside each load a quiet sender posts one record at a time: its waiting shows what the load does to others. Memory is
the server's and its decoding process', PostgreSQL not included.
"""

import argparse
import asyncio
import gzip
import itertools
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from rich.console import Console
from rich.table import Table

from benchmarks.decode import requests_of
from tests import harness
from tests.contract.conformance import document
from tests.factories import log_record, logs_request

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
MIB = 1024 * 1024
PROTOBUF, JSON = "application/x-protobuf", "application/json"
MEMORY_MIB_MAX = 512
_SAMPLE_S = 0.02


@dataclass
class Load:
    """One kind of load: so many senders, each sending its bodies again and again as soon as it is answered."""

    name: str
    http: int
    grpc: int
    body: Callable[[], bytes]
    content_type: str = PROTOBUF
    gzipped: bool = False


@dataclass
class Result:
    """What came of a load."""

    answers: Counter[str] = field(default_factory=Counter)
    without_delay: int = 0
    waits_s: list[float] = field(default_factory=list)
    refused_quiet: int = 0
    peak_bytes: int = 0


def memory_bytes(pid: int) -> int:
    """Return the resident bytes of a process and of its decoding process."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in [str(pid), *children]:
        try:
            if one == str(pid) or b"decode_worker" in Path(f"/proc/{one}/cmdline").read_bytes():
                total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * 4096
        except OSError:
            continue
    return total


async def post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, load: Load
) -> tuple[int, dict[str, str]]:
    """POST a body on an open connection; return status and headers."""
    coding = "Content-Encoding: gzip\r\n" if load.gzipped else ""
    writer.write(
        f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: {load.content_type}\r\n{coding}"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
    )
    writer.write(body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
    await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers


async def http_sender(address: str, load: Load, result: Result, until: float) -> None:
    """Send until the time is over."""
    host, port = address.split(":")
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError as error:
            result.answers[type(error).__name__] += 1
            continue
        try:
            while time.monotonic() < until:
                status, headers = await post(reader, writer, load.body(), load)
                result.answers[str(status)] += 1
                result.without_delay += status in {429, 503} and headers.get("retry-after") not in {"1", "2"}
        except (OSError, asyncio.IncompleteReadError) as error:
            # Answered, and the connection closed, while the rest was being sent: the kernel may drop the answer.
            result.answers[type(error).__name__] += 1
        finally:
            writer.close()


async def grpc_sender(address: str, load: Load, result: Result, until: float) -> None:
    """Send until the time is over, on a connection of its own."""
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    compression = grpc.Compression.Gzip if load.gzipped else None
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(EXPORT)
        while time.monotonic() < until:
            try:
                await call(load.body(), timeout=60, compression=compression)
                result.answers["OK"] += 1
            except grpc.aio.AioRpcError as error:
                result.answers[error.code().name] += 1
                result.without_delay += not _has_delay(error)


def _has_delay(error: grpc.aio.AioRpcError) -> bool:
    status = Status.FromString(dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b""))
    return any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)


async def _quiet(address: str, seconds: float) -> tuple[list[float], int]:
    host, port = address.split(":")
    load = Load("quiet", 1, 0, lambda: logs_request([log_record()], service="quiet").SerializeToString())
    reader, writer = await asyncio.open_connection(host, int(port))
    waits_s, refused = [], 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        status, _ = await post(reader, writer, load.body(), load)
        waits_s.append(time.perf_counter() - began)
        refused += status != 200
        await asyncio.sleep(0.02)
    writer.close()
    return waits_s, refused


def quiet_sender(address: str, seconds: float) -> tuple[list[float], int]:
    """Post one record at a time, from a process of its own; return how long each took, and how many were refused."""
    return asyncio.run(_quiet(address, seconds))


async def run(server: harness.Server, pool: Executor, load: Load, seconds: float) -> Result:
    """Run one load."""
    result = Result()
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_S):
            result.peak_bytes = max(result.peak_bytes, memory_bytes(server.process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    until = time.monotonic() + seconds
    quiet = asyncio.get_running_loop().run_in_executor(pool, quiet_sender, server.http, seconds)
    senders: list[Awaitable[None]] = [http_sender(server.http, load, result, until) for _ in range(load.http)]
    senders += [grpc_sender(server.grpc, load, result, until) for _ in range(load.grpc)]
    await asyncio.gather(*senders)
    result.waits_s, result.refused_quiet = await quiet
    over.set()
    sampler.join()
    return result


def loads() -> list[Load]:
    """Return the loads: each makes its bodies beforehand; no two are the same, or they would be stored once."""
    batches = itertools.cycle(requests_of(512 * 64))
    number = itertools.count()

    def batch() -> bytes:
        mark = logs_request([log_record(body={"string_value": f"mark {next(number)}"})]).SerializeToString()
        return next(batches) + mark

    records = [log_record(body={"string_value": "x" * 300}) for _ in range(1_000)]
    thousand = logs_request(records).SerializeToString()
    sent = document(body={"stringValue": "x" * 300})
    scope = sent["resourceLogs"][0]["scopeLogs"][0]
    scope["logRecords"] = scope["logRecords"] * 8_000

    def large(size: int) -> Callable[[], bytes]:
        repeated = thousand * (size // len(thousand))
        return lambda: repeated + batch()

    text = json.dumps(sent).encode()
    bomb = gzip.compress(bytes(300 * MIB), 1)
    return [
        Load("batches of 512, 8 senders (what it can commit)", 4, 4, batch),
        Load("batches of 512, 1,000 exporters", 800, 200, batch),
        Load("bodies of 8 MiB, 64 senders", 32, 32, large(8 * MIB)),
        Load("bodies of 61 MiB, gzip over gRPC, 16 senders", 0, 16, large(61 * MIB), gzipped=True),
        Load("JSON of 4 MiB, 64 senders", 64, 0, lambda: text[:-1] + b" " * (next(number) % 4096) + b"}", JSON),
        Load("gzip bombs of 300 MiB, 32 senders", 32, 0, lambda: bomb, gzipped=True),
    ]


def row(load: Load, result: Result) -> list[str]:
    """Return a load's line of the table."""
    total = sum(result.answers.values())
    taken = result.answers["200"] + result.answers["OK"]
    codes = ", ".join(f"{code} {count}" for code, count in sorted(result.answers.items()))
    waits = sorted(result.waits_s)
    p99 = waits[int(len(waits) * 0.99)] if waits else 0.0
    return [
        load.name,
        f"{result.peak_bytes // MIB}",
        f"{100 * (total - taken) / max(total, 1):.0f} %",
        codes,
        f"{result.without_delay}",
        f"{1000 * statistics.median(waits or [0]):.0f} / {1000 * p99:.0f} / {1000 * max(waits, default=0):.0f}",
        f"{result.refused_quiet} of {len(waits)}",
    ]


def main() -> None:
    """Run all loads against one server and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each load (default 10)")
    seconds = parser.parse_args().seconds
    table = Table(title=f"{seconds:g} s each; memory in MiB resident, waits of the quiet sender in ms")
    for column in ("load", "peak", "refused", "answers", "no delay", "quiet p50 / p99 / max", "quiet refused"):
        table.add_column(column, no_wrap=column in {"peak", "refused"})
    peak = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        harness.running(Path(directory) / "data") as server,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        rest = memory_bytes(server.process.pid)
        for load in loads():
            result = asyncio.run(run(server, pool, load, seconds))
            peak = max(peak, result.peak_bytes)
            table.add_row(*row(load, result))
        time.sleep(2)
        after = memory_bytes(server.process.pid)
    Console(width=200).print(table)
    print(f"at rest {rest // MIB} MiB, peak {peak // MIB} MiB, afterwards {after // MIB} MiB")
    if peak > MEMORY_MIB_MAX * MIB:
        raise SystemExit(f"more than {MEMORY_MIB_MAX} MiB")


if __name__ == "__main__":
    main()
