"""A real otel-ingest in a process of its own: free ports, own data directory, bounded waits."""

import asyncio
import atexit
import json
import os
import re
import selectors
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from storage import embedded

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0

# As root a cluster lies outside of its data directory, where no temporary directory takes it along.
_elsewhere: set[Path] = set()


@atexit.register
def _remove_clusters() -> None:
    for directory in _elsewhere:
        shutil.rmtree(directory, ignore_errors=True)


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return once ``condition`` holds. Raises AssertionError when it does not within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this environment without OTEL_* and OTEL_INGEST_* variables, plus ``extra``."""
    return {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")} | extra


async def until(condition: Callable[[], Awaitable[Any]], timeout_s: float = 20.0) -> Any:
    """Wait, bounded, until ``condition`` is true of a state that only asking shows; return what it returned."""
    async with asyncio.timeout(timeout_s):
        while not (answer := await condition()):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)
        return answer


@dataclass(slots=True)
class Server:
    """A running `otel-ingest up`."""

    process: subprocess.Popen[str]
    data_dir: Path
    grpc: str
    http: str
    query: str
    stderr_path: Path
    schemes: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    """How this client proves itself and the server, where listeners speak TLS."""

    def token(self, role: str = "read") -> str:
        """Return the token that the first start made for ``role`` (admin or read)."""
        return (self.data_dir / "tokens" / role).read_text().strip()

    def get(self, path: str, *, role: str | None = "read") -> bytes:
        """GET a path of the query side with the token of ``role``."""
        request = urllib.request.Request(f"{self.schemes['query']}://{self.query}{path}")  # noqa: S310
        if role is not None:
            request.add_header("Authorization", f"Bearer {self.token(role)}")
        with urllib.request.urlopen(request, timeout=20, context=self.tls) as answer:  # noqa: S310
            return bytes(answer.read())

    def post(self, path: str, body: bytes, content_type: str = "application/json", **headers: str) -> tuple[int, bytes]:
        """POST a body to the OTLP/HTTP receiver; return status and answer, errors too."""
        url = f"{self.schemes['http']}://{self.http}{path}"
        request = urllib.request.Request(url, data=body, method="POST")  # noqa: S310
        request.add_header("Content-Type", content_type)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.tls) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def metrics(self) -> dict[str, float]:
        """Return every sample of /metrics, name with labels as exposed -> value."""
        samples = {}
        for line in self.get("/metrics", role=None).decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def ledger(self) -> dict[str, dict[str, int]]:
        """Return the ledger in records, from /metrics: {signal: {book: records}}, ``spooled`` being what is at rest."""
        return ledger_of(self.metrics())

    def assert_balanced(self) -> None:
        """Assert that nothing that was received is unaccounted for."""
        for name, book in self.ledger().items():
            assert is_balanced(book), (name, book)

    @contextmanager
    def sql(self) -> Iterator[psycopg.Cursor[tuple[object, ...]]]:
        """Yield a cursor on the server's own PostgreSQL, each statement committed."""
        url = embedded.connection_url(self.data_dir).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            yield cursor

    def rss_bytes(self) -> int:
        """Return the resident memory of the server process, PostgreSQL not included."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; SIGKILL after STOP_TIMEOUT_S."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def ledger_of(metrics: dict[str, float]) -> dict[str, dict[str, int]]:
    """PURE: return {signal: {book: records}} of samples of /metrics."""
    ledger: dict[str, dict[str, int]] = {}
    books = "received|recovered|stored|rejected|refused|duplicate|spooled"
    pattern = re.compile(rf'otel_ingest_({books})_records(?:_total)?\{{.*?signal="(\w+)".*\}}')
    for name, value in metrics.items():
        if match := pattern.fullmatch(name):
            book = ledger.setdefault(match[2], {})
            book[match[1]] = book.get(match[1], 0) + int(value)
    return ledger


def is_balanced(book: dict[str, int]) -> bool:
    """PURE: return whether all that came into one signal's book is accounted for."""
    inflow = book["received"] + book["recovered"]
    return inflow == sum(book.values()) - inflow


def start(data_dir: Path, *arguments: str, tls: ssl.SSLContext | None = None, **environment: str) -> Server:
    """Start a server on free ports and return it once it printed its ready line."""
    stderr_path = data_dir.with_name(data_dir.name + ".stderr")
    command = [sys.executable, "-m", "otel_ingest", "up", "--json", "--data-dir", str(data_dir)]
    for side in ("grpc", "http", "query"):
        command += [f"--{side}-endpoint", "127.0.0.1:0"]
    was_there = (data_dir / "postgres").exists()  # a store of somebody else's, a benchmark's say, is not ours to remove
    with stderr_path.open("a") as stderr:
        process = subprocess.Popen(
            [*command, *arguments],
            env=clean_environment(**environment),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    line = _ready_line(process, stderr_path)
    ready = json.loads(line)
    if not was_there and (data_dir / "postgres").is_symlink():
        _elsewhere.add((data_dir / "postgres").resolve().parent)
    schemes = {side: url.partition(":")[0] for side, url in ready["urls"].items()}
    return Server(process, data_dir, ready["grpc"], ready["http"], ready["query"], stderr_path, schemes, tls)


def _ready_line(process: subprocess.Popen[str], stderr_path: Path) -> str:
    """Return the first line of stdout, or fail with what the server said on stderr."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if selector.select(timeout=0.2):
                if line := process.stdout.readline():
                    return line
                break
    process.kill()
    process.wait()
    process.stdout.close()
    raise AssertionError(f"the server did not start:\n{stderr_path.read_text()[-4000:]}")


@contextmanager
def running(data_dir: Path, *arguments: str, tls: ssl.SSLContext | None = None, **environment: str) -> Iterator[Server]:
    """Run a server for the length of a with block; stop it with SIGTERM at its end."""
    server = start(data_dir, *arguments, tls=tls, **environment)
    try:
        yield server
        if server.process.poll() is None:
            server.assert_balanced()
    finally:
        server.stop()
        if server.process.stdout is not None:
            server.process.stdout.close()
