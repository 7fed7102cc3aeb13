"""Several receiver processes on one address: starts them, starts again what ended, asks them, and stops them together.

The kernel gives each new connection to one of them (SO_REUSEPORT). This process receives nothing itself: it owns
PostgreSQL and serves the query side.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import SecretStr

from otel_ingest.cli.access import Access
from otel_ingest.config import Settings
from storage.views import Spooled

_log = structlog.get_logger(__name__)

_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 5.0
_BACKOFF_S, _BACKOFF_MAX_S = 0.5, 30.0
# One that ran for this long had no fault of its start.
_LIVED_S = 60.0
_STOP_GRACE_S = 10.0
# One line holds all metrics of a worker.
_LINE_BYTES_MAX = 16 * 1024 * 1024


def order_line(settings: Settings, access: Access, grpc: str, http: str) -> bytes:
    """Return the order for a worker: settings as values, addresses that are fixed, the way to PostgreSQL.

    It goes through a pipe: neither the command line nor the environment of a process shows it.
    """
    values = {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}
    values |= {"grpc_endpoint": grpc, "http_endpoint": http}
    given = {name: value for name, value in values.items() if value is not None}
    way = asdict(access) | {"owner": None, "erase": None}
    return json.dumps({"settings": given, "access": way}).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value if value is None or isinstance(value, bool | int | float | tuple) else str(value)


class WorkerFailedError(Exception):
    """A receiver process ended before it was ready for the first time; its own log says why."""


class Worker:
    """One receiver process, and the pipe to it."""

    def __init__(self, number: int, order: bytes) -> None:
        self.number = number
        self.restarts = 0
        self._order = order
        self._process: asyncio.subprocess.Process | None = None
        self._ready = False
        self._talking = asyncio.Lock()

    async def start(self) -> None:
        """Start the process and return once it receives. Raises WorkerFailedError."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "otel_ingest", "worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES_MAX,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        assert self._process.stdout is not None  # noqa: S101
        with contextlib.suppress(OSError):
            self._process.stdin.write(self._order)
            await self._process.stdin.drain()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self.kill()
            raise WorkerFailedError(f"receiver {self.number} of the workers did not start; its log is above")
        self._ready = True

    async def keep(self) -> None:
        """Start the process again whenever it ends, after a pause that grows; until cancelled."""
        pause_s, started_s = _BACKOFF_S, time.monotonic()
        while True:
            assert self._process is not None  # noqa: S101 - started before
            code = await self._process.wait()
            self._ready = False
            pause_s = _BACKOFF_S if time.monotonic() - started_s > _LIVED_S else min(pause_s * 2, _BACKOFF_MAX_S)
            _log.error("a receiver process ended; starting it again", worker=self.number, code=code, after_s=pause_s)
            await asyncio.sleep(pause_s)
            started_s = time.monotonic()
            self.restarts += 1
            with contextlib.suppress(WorkerFailedError):
                await self.start()

    async def ask(self, what: bytes) -> dict[str, Any] | None:
        """Return its answer to ``metrics`` or ``readiness``; None when it has none to give in time."""
        process = self._process
        if not self._ready or process is None or process.stdin is None or process.stdout is None:
            return None
        async with self._talking:
            try:
                async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                    process.stdin.write(what + b"\n")
                    await process.stdin.drain()
                    answer: dict[str, Any] = json.loads(await process.stdout.readline())
            except (OSError, ValueError):
                return None
            except TimeoutError:
                # Its answer would be taken for that of the next question.
                _log.error("a receiver process does not answer; it is ended", worker=self.number)
                await self.kill()
                return None
        return answer

    def terminate(self) -> None:
        """Have it finish what it accepted, and end."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def ended(self, timeout_s: float) -> None:
        """Wait until it ended; end it at once when it takes longer."""
        if self._process is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            _log.error("a receiver process did not stop in time", worker=self.number)
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Supervisor:
    """All receiver processes of one ``up``."""

    def __init__(self, order: bytes, count: int) -> None:
        self.workers = [Worker(number, order) for number in range(1, count + 1)]
        self._spooled: Spooled | None = None
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all and return once all receive. Raises WorkerFailedError."""
        starting = [asyncio.create_task(worker.start()) for worker in self.workers]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            await asyncio.gather(*(worker.kill() for worker in self.workers))
            raise
        self._keepers = [asyncio.create_task(worker.keep()) for worker in self.workers]

    async def stop(self, drain_timeout_s: float) -> None:
        """Have all finish what they accepted; bounded."""
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for worker in self.workers:
            worker.terminate()
        await asyncio.gather(*(worker.ended(drain_timeout_s + _STOP_GRACE_S) for worker in self.workers))

    async def metrics(self) -> bytes:
        """Return the metrics of all, each sample with the number of its worker: a restart is a reset of its series."""
        answers = await asyncio.gather(*(worker.ask(b"metrics") for worker in self.workers))
        self._spooled = _sum_of([answer["spool"] for answer in answers if answer is not None])
        registry = CollectorRegistry()
        registry.register(_Families(self.workers, answers))
        return generate_latest(registry)

    def spooled(self) -> Spooled | None:
        """Return what lies in the spools of all, as last asked for."""
        return self._spooled

    async def readiness(self) -> tuple[bool, str]:
        """Return whether exports are accepted durably: by all of them, for nobody can choose one."""
        await self.metrics()
        answers = await asyncio.gather(*(worker.ask(b"readiness") for worker in self.workers))
        said = [
            (False, f"receiver {worker.number} is being started")
            if answer is None
            else (bool(answer["ready"]), str(answer["sentence"]))
            for worker, answer in zip(self.workers, answers, strict=True)
        ]
        worst = next((sentence for ready, sentence in said if not ready), None)
        return worst is None, worst or max((sentence for _, sentence in said), key=len)


def _sum_of(views: Sequence[dict[str, Any] | None]) -> Spooled | None:
    found = [view for view in views if view is not None]
    if not found:
        return None
    sums = {name: sum(view[name] for view in found) for name in ("requests", "records", "bytes", "set_aside_bytes")}
    return Spooled(
        **sums,
        oldest_s=max(view["oldest_s"] for view in found),
        state=max(found, key=lambda view: int(view["requests"]))["state"],
    )


class _Families:
    """The metrics of all workers (prometheus_client's Collector interface)."""

    def __init__(self, workers: Sequence[Worker], answers: Sequence[dict[str, Any] | None]) -> None:
        self._workers = workers
        self._answers = answers

    def collect(self) -> Iterator[Metric]:
        """Yield each family once, with the samples of all workers."""
        families: dict[str, Metric] = {}
        for worker, answer in zip(self._workers, self._answers, strict=True):
            for name, documentation, kind, samples in (answer or {"metrics": []})["metrics"]:
                family = families.setdefault(name, Metric(name, documentation, kind))
                for sample, labels, value in samples:
                    family.add_sample(sample, {**labels, "worker": str(worker.number)}, value)
        yield from families.values()
        up = GaugeMetricFamily("otel_ingest_worker_up", "Whether it answers", labels=["worker"])
        restarts = CounterMetricFamily("otel_ingest_worker_restarts", "Times it was started again", labels=["worker"])
        for worker, answer in zip(self._workers, self._answers, strict=True):
            up.add_metric([str(worker.number)], answer is not None)
            restarts.add_metric([str(worker.number)], worker.restarts)
        yield up
        yield restarts
