"""The receiver as a supervisor sees it: one command, fixed ports, one data directory; started again when it ends."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import urllib.request
from pathlib import Path

from tests import harness

_START_TIMEOUT_S = 120.0
_POLL_S = 0.25


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


class Receiver:
    """`otel-ingest up` on ``data_dir``; what it prints goes to ``log``."""

    def __init__(self, data_dir: Path, log: Path, database_url: str, *arguments: str, **environment: str) -> None:
        self._data_dir = data_dir
        self.log = log
        self._arguments = arguments
        self._environment = harness.clean_environment(OTEL_INGEST_DATABASE_URL=database_url, **environment)
        self.grpc_port, self.http_port, self.query_port = free_ports(3)
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self.peak_rss_bytes = 0
        self.starts = 0
        self.failed_starts = 0

    async def start(self) -> None:
        """Start it until it is ready, as a supervisor does: it may end while PostgreSQL is away. Bounded."""
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._start_once():
                    self.failed_starts += 1
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise AssertionError(f"the receiver did not start:\n{self.log.read_text()[-4000:]}") from None
        self.starts += 1
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_memory())

    async def _start_once(self) -> bool:
        command = [sys.executable, "-m", "otel_ingest", "up", "--json", "--data-dir", str(self._data_dir)]
        for side, port in (("grpc", self.grpc_port), ("http", self.http_port), ("query", self.query_port)):
            command += [f"--{side}-endpoint", f"127.0.0.1:{port}"]
        with self.log.open("a") as log:
            process = await asyncio.create_subprocess_exec(
                *command, *self._arguments, env=self._environment, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        self._process = process
        assert process.stdout is not None
        line = await process.stdout.readline()
        if line and json.loads(line).get("ready"):
            return True
        await process.wait()
        return False

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    def kill(self) -> None:
        """SIGKILL, now."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def ended(self) -> None:
        """Return once the process is gone. Bounded."""
        if self._process is not None:
            async with asyncio.timeout(60):
                await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; return the exit code; SIGKILL where it does not end in time."""
        if self._watch is not None:
            self._watch.cancel()
        if self._process is None:
            return 0
        self.thaw()
        self._signal(signal.SIGTERM)
        try:
            await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()
        return self._process.returncode or 0

    async def metrics(self) -> dict[str, float]:
        """Return every sample of /metrics."""
        text = await asyncio.to_thread(self._get, "/metrics")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    async def ledger(self) -> dict[str, dict[str, int]]:
        """Return {signal: {book: records}} of this life of the process."""
        return harness.ledger_of(await self.metrics())

    def unexpected(self) -> list[str]:
        """Return the lines of its log that speak of a fault nobody foresaw."""
        words = ("Traceback", "unexpected error", "never retrieved", "never awaited")
        return [line for line in self.log.read_text(errors="replace").splitlines() if any(w in line for w in words)]

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.query_port}{path}", timeout=20) as answer:
            return str(answer.read().decode())

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _watch_memory(self) -> None:
        """Note the most memory any life of it had: the kernel keeps each life's own peak."""
        while True:
            if self.is_running():
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{self.pid}/status").read_text()  # noqa: ASYNC240 - not a disk
                    if match := re.search(r"VmHWM:\s+(\d+) kB", status):
                        self.peak_rss_bytes = max(self.peak_rss_bytes, int(match[1]) * 1024)
            await asyncio.sleep(_POLL_S)
