"""One run's world: PostgreSQL, a proxy before it, the receiver, and the processes that send to it."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import harness
from tests.chaos import journal
from tests.chaos.database import Database
from tests.chaos.disk import SmallDisk
from tests.chaos.frames import Http1Answers, Http2Answers, Moment, PostgresAnswers, PostgresRequests
from tests.chaos.proxy import Proxy, Stop, Streams
from tests.chaos.receiver import Receiver
from tests.chaos.verdict import Record

PROCESSES = ("grpc", "http", "grpc", "http")
_FIRST_ANSWERS_S = 90.0
_DRAIN_S = 180.0
# The SDK's own shutdown waits 30 s for each provider; both of all lanes at the same time.
_LOAD_ENDS_S = 75.0
_POLL_S = 0.1
_POSTGRES_DISK_BYTES = 1536 * 1024 * 1024
_SPOOL_DISK_BYTES = 64 * 1024 * 1024

_STORED = """
SELECT attributes->>'chaos.stream', (attributes->>'chaos.number')::bigint, count(*),
       bool_and({text} = (attributes->>'chaos.stream') || ' record ' || (attributes->>'chaos.number'))
FROM {table} GROUP BY 1, 2
"""


@dataclass(slots=True)
class Setup:
    """What a run is made of."""

    lanes: int = 2
    rate: int = 60
    """Log records a second and lane; half as many spans."""
    small_disks: bool = False
    stop_at: Callable[[Moment], Stop | None] | None = None
    """Asked about each moment of a transaction; None: no proxy stands before the receiver."""
    environment: dict[str, str] = field(default_factory=dict)
    """Settings of the receiver."""
    keep: bool = False
    """Leave the directory with logs and journals."""


@dataclass(slots=True)
class Stage:
    """The running parts; faults are done to them."""

    directory: Path
    database: Database
    link: Proxy
    receiver: Receiver
    endpoints: dict[str, str]
    """Where the load sends: host:port of each transport."""
    spool_disk: SmallDisk | None
    load: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def journals(self) -> list[Path]:
        """What the processes of the load noted."""
        return sorted(self.directory.glob("journal-*.jsonl"))

    async def start_load(self, lanes: int, rate: int) -> None:
        """Start the four processes; return once each had an export acknowledged."""
        for number, transport in enumerate(PROCESSES):
            path = self.directory / f"journal-{number}.jsonl"
            command = [sys.executable, "-m", "tests.chaos.load", "--process", str(number)]
            command += ["--transport", transport, "--endpoint", self.endpoints[transport], "--journal", str(path)]
            command += ["--lanes", str(lanes), "--rate", str(rate)]
            with (self.directory / "load.log").open("a") as log:
                process = await asyncio.create_subprocess_exec(
                    *command, env=harness.clean_environment(), stdout=log, stderr=log
                )
            self.load.append(process)
        async with asyncio.timeout(_FIRST_ANSWERS_S):
            while not self._all_acknowledged():  # noqa: ASYNC110 - other processes write it
                await asyncio.sleep(_POLL_S)

    def _all_acknowledged(self) -> bool:
        texts = [path.read_text() if path.exists() else "" for path in self.journals]
        return len(texts) == len(PROCESSES) and all('"SUCCESS"' in text for text in texts)

    async def returned(self) -> None:
        """Return once every export call that has begun by now has returned. Bounded."""
        now_s = time.time()
        async with asyncio.timeout(_FIRST_ANSWERS_S):
            while any(c.result is None and c.began_s < now_s for c in self.read_journals()[0]):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)

    async def stop_load(self) -> None:
        """Shut the SDKs down as applications do; a process that does not end is killed."""
        for process in self.load:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        _, late = await asyncio.wait([asyncio.create_task(p.wait()) for p in self.load], timeout=_LOAD_ENDS_S)
        for task in late:
            task.cancel()
        for process in self.load:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def heal(self) -> None:
        """Undo every fault: all runs, nothing is full, stalled or frozen."""
        for disk in (self.database.disk, self.spool_disk):
            if disk is not None:
                disk.free()
        self.link.resume()
        self.database.thaw()
        self.receiver.thaw()
        if not self.database.is_running():
            await self.database.start()
        if not self.receiver.is_running():
            await self.receiver.start()

    async def drained(self) -> None:
        """Return once nothing is spooled or queued any more. Bounded."""
        async with asyncio.timeout(_DRAIN_S):
            while True:
                with contextlib.suppress(OSError):
                    if not await self._waiting():
                        return
                await asyncio.sleep(_POLL_S)

    async def _waiting(self) -> float:
        metrics = await self.receiver.metrics()
        names = ("otel_ingest_spooled_records", "otelcol_exporter_queue_size")
        return sum(value for name, value in metrics.items() if name.partition("{")[0] in names)

    def stored(self) -> Counter[Record]:
        """Return how often each record is there; one whose text is not its own counts as another record."""
        found: Counter[Record] = Counter()
        with self.database.connect() as connection:
            for table, text in (("log_records", "body"), ("spans", "name")):
                for stream, number, times, intact in connection.execute(_STORED.format(table=table, text=text)):
                    name = stream if intact else f"{stream} (altered)"
                    found[str(name), int(str(number))] += int(str(times))
        return found

    def read_journals(self) -> tuple[list[journal.Call], list[journal.Answer]]:
        """Return every call and every answer that was no success."""
        return journal.read(self.journals)


@asynccontextmanager
async def stage(setup: Setup) -> AsyncIterator[Stage]:
    """Start PostgreSQL, proxies and the receiver (not the load); stop and remove all of it in the end."""
    async with AsyncExitStack() as stack:
        directory = _directory()
        stack.callback(_remove, directory, keep=setup.keep)
        spool_disk = postgres_disk = None
        if setup.small_disks:
            postgres_disk = _mounted(stack, directory / "disk", _POSTGRES_DISK_BYTES)
            spool_disk = _mounted(stack, directory / "data" / "spool", _SPOOL_DISK_BYTES)
            spool_disk.path.chmod(0o700)
        database = Database(directory / "pg", postgres_disk)
        stack.push_async_callback(database.close)
        await database.start()
        await database.configure()
        stop_at = setup.stop_at or (lambda _: None)
        watched = {"requests": PostgresRequests, "answers": PostgresAnswers, "stop_at": stop_at}
        link = Proxy(lambda: asyncio.open_unix_connection(database.socket), **(watched if setup.stop_at else {}))  # type: ignore[arg-type]
        await link.start()
        stack.push_async_callback(link.close)
        log = directory / "receiver.log"
        receiver = Receiver(directory / "data", log, database.url_by(link.port), **setup.environment)
        stack.push_async_callback(receiver.stop)
        endpoints = {"grpc": f"127.0.0.1:{receiver.grpc_port}", "http": f"127.0.0.1:{receiver.http_port}"}
        if setup.stop_at is not None:
            for transport, answers in (("grpc", Http2Answers), ("http", Http1Answers)):
                front = Proxy(_to(endpoints[transport]), answers=answers, stop_at=stop_at)
                await front.start()
                stack.push_async_callback(front.close)
                endpoints[transport] = f"127.0.0.1:{front.port}"
        await receiver.start()
        built = Stage(directory, database, link, receiver, endpoints, spool_disk)
        stack.push_async_callback(_end_load, built)
        yield built


def finish(run: Coroutine[Any, Any, bool]) -> int:
    """Run a whole program and return its exit code; SIGTERM ends it as Ctrl-C does, nothing is left running."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return 0 if asyncio.run(run) else 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130


def _to(endpoint: str) -> Callable[[], asyncio.Future[Streams]]:
    host, _, port = endpoint.rpartition(":")
    return lambda: asyncio.ensure_future(asyncio.open_connection(host, int(port)))


def _mounted(stack: AsyncExitStack, path: Path, size_bytes: int) -> SmallDisk:
    disk = SmallDisk(path, size_bytes)
    stack.callback(disk.remove)
    return disk


async def _end_load(built: Stage) -> None:
    """Leave no process behind, however the run ended."""
    for process in built.load:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            await process.wait()


def _directory() -> Path:
    """Return a new directory; PostgreSQL's own account may pass through it."""
    # A short path: a Unix socket's name holds 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="oi-chaos-"))
    directory.chmod(0o711)
    return directory


def _remove(directory: Path, *, keep: bool) -> None:
    if keep:
        print(f"kept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
