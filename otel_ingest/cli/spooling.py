"""Puts the spool of one receiver together: its directory, what others left behind, the drain, what is said of it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from otel_ingest.config import Settings
from otel_ingest.ending import end
from otel_ingest.ingest import Ingest
from otel_ingest.spool.drain import Drain, DrainTarget
from otel_ingest.spool.format import UnknownVersionError
from otel_ingest.spool.owner import Owned, own_first_free, own_leftovers
from otel_ingest.spool.report import SpoolReport
from otel_ingest.spool.spool import Spool, SpoolCounts
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from storage import spooled
from storage.engine import AsyncEngine
from storage.errors import StoreError
from storage.views import Spooled

_log = structlog.get_logger(__name__)

# A receiver that was killed is mostly started again within seconds; what nobody owns for longer is drained by others.
_ADOPT_EVERY_S = 60.0
_PING_TIMEOUT_S = 2.0


class SpoolUnusableError(Exception):
    """The spool directory cannot be used; the text says why and what to do."""


class Spooling:
    """The spools of a receiver, its own first, and the tasks that empty them; without a spool ``own`` is None."""

    def __init__(self, settings: Settings, state: StoreState, stats: ReceiverStats) -> None:
        self.state = state
        self.own: Spool | None = None
        self.report: SpoolReport | None = None
        self._root = settings.data_dir / "spool"
        self._bytes_max = settings.spool_bytes_max
        self._stats = stats
        self._counts = SpoolCounts()
        self._spools: list[Spool] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Own a directory and open what is in it and in those that nobody owns. Raises SpoolUnusableError."""
        if not self._bytes_max:
            return
        try:
            self.own = await self._open(own_first_free(self._root))
            for owned in own_leftovers(self._root):
                await self._open(owned)
        except (OSError, UnknownVersionError) as error:
            raise SpoolUnusableError(
                f"the spool below {self._root} cannot be used: {error}; OTEL_INGEST_SPOOL_BYTES_MAX=0 runs without one"
            ) from error

    async def _open(self, owned: Owned) -> Spool:
        """Open a spool; what is in it becomes this process's to account for."""
        spool = Spool(owned, bytes_max=self._bytes_max, counts=self._counts)
        found = await spool.open()
        self._spools.append(spool)
        self._stats.recovered(found.records)
        if found.requests:
            records = sum(found.records.values())
            _log.info("found in the spool", requests=found.requests, records=records, directory=str(owned.path))
        return spool

    def start(self, ingest: Ingest, engine: AsyncEngine, probe: Callable[[], Awaitable[None]]) -> None:
        """Begin to drain into ``ingest`` whenever there is something, and PostgreSQL takes it."""
        if self.own is None:
            return
        target = DrainTarget(ingest.replay, self._stats.lost, partial(spooled.forget, engine), probe)
        drain = Drain(self._spools, target, self.state)
        self.report = SpoolReport(self._spools, self._counts, drain, self.state, self._stats.registry)
        self._tasks = [asyncio.create_task(drain.run()), asyncio.create_task(self._adopt_forever())]

    async def _adopt_forever(self) -> None:
        while True:
            await asyncio.sleep(_ADOPT_EVERY_S)
            try:
                for owned in own_leftovers(self._root):
                    await self._open(owned)
            except (OSError, UnknownVersionError) as error:
                _log.error("a spool that nobody owns cannot be drained", reason=str(error))

    def view(self) -> Spooled | None:
        """Return what is at rest; None while there is no spool."""
        return self.report.view() if self.report is not None else None

    async def stop_draining(self) -> None:
        """End the tasks; what is not in PostgreSQL stays."""
        await end(*self._tasks)

    async def close(self) -> None:
        """Write what waits to the disk, and give the directories up."""
        for spool in self._spools:
            await spool.close()
        if self.report is not None and (left := self.report.view()).requests:
            _log.warning(
                "requests stay in the spool until the next start", requests=left.requests, records=left.records
            )


async def readiness(spooling: Spooling, ping: Callable[[], Awaitable[object]]) -> tuple[bool, str]:
    """Return whether exports can be accepted durably, and a sentence: in PostgreSQL, or in the spool."""
    if spooling.report is not None and spooling.state.is_away:
        return spooling.report.readiness()
    try:
        async with asyncio.timeout(_PING_TIMEOUT_S):
            await ping()
    except (StoreError, TimeoutError) as error:
        why = str(error) or "PostgreSQL does not answer"
        return (
            (True, f"ready, degraded: {why}; requests go to the spool")
            if spooling.own
            else (False, f"not ready: {why}")
        )
    return True, "ready"
