"""The levels in force, as this receiver last read them: for the hash on export answers and for OpAMP.

Read again every half second in one small query, however many agents wait for a change: from the tool call to the
first record of a raised level is to take two seconds. Nothing of it needs a connection of its own (LISTEN would), so
that it works behind a pooler, with any number of receivers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from otel_ingest.ending import end
from storage.errors import StoreError
from storage.level_config import by_component, configuration_hash
from storage.views import LevelOverride

_log = structlog.get_logger(__name__)

# On answers to exports, so that a client that logs learns of a change with its next batch.
CONFIGURATION_HEADER = "x-otel-ingest-config"
REFRESH_S = 0.5
# While PostgreSQL is away there is nothing to learn; what is known goes on to count.
_RETRY_S = 5.0
# Polls of agents held at a time, a receiver process: each is a connection, some 85 KiB. The next one is answered
# at once and asks again after its interval. Most of the connections that a listener takes are left for exports.
HELD_MAX = 2_048

ReadActive = Callable[[], Awaitable[list[LevelOverride]]]
"""Returns what is in force, of all components. Raises StoreError."""

ConfigurationHash = Callable[[str | None], str | None]
"""Takes a component (None: a request of several, or of none); returns the hash to answer with."""


def no_configuration(_: str | None) -> None:
    """Answer without a hash."""


@dataclass(slots=True, eq=False)
class _Waiter:
    """One who waits for another configuration than the one with the hash ``has``."""

    component: str
    has: str
    since_s: float
    news: asyncio.Future[list[LevelOverride] | None]


class LevelConfigurations:
    """The configuration of each component; ``start`` keeps it fresh until ``stop``, ``held_max`` may wait for news."""

    def __init__(self, read_active: ReadActive, held_max: int = HELD_MAX) -> None:
        self._read_active = read_active
        self._held_max = held_max
        self._hashes: dict[str, str] = {}
        self._none = configuration_hash([]).hex()
        self._task: asyncio.Task[None] | None = None
        self._waiters: set[_Waiter] = set()
        self._fresh = False

    def hash_of(self, component: str | None) -> str | None:
        """Return the hash of a component's configuration in hex, half a second old at most; None for no component."""
        return None if component is None else self._hashes.get(component, self._none)

    async def of_all(self) -> list[LevelOverride]:
        """Return what is in force at this moment, of all components. Raises StoreError."""
        return await self._read_active()

    def holds(self) -> bool:
        """Whether one more may wait: it is refreshed, PostgreSQL answered the last look, and there is room."""
        return self._fresh and len(self._waiters) < self._held_max

    async def changed(self, component: str, has: bytes, wait_s: float) -> list[LevelOverride] | None:
        """Return what is in force once its hash is not ``has`` any more; None when it was for ``wait_s``.

        Only looks that began after the call count: an older one may not know what the caller has.
        """
        news = asyncio.get_running_loop().create_future()
        waiter = _Waiter(component, has.hex() or self._none, time.monotonic(), news)
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(wait_s):
                return await waiter.news
        except TimeoutError:
            return None
        finally:
            self._waiters.discard(waiter)

    def release(self) -> None:
        """Answer everybody who waits, and let nobody wait any more: the receiver is about to stop."""
        self._fresh = False
        self._held_max = 0
        for waiter in self._waiters:
            if not waiter.news.done():
                waiter.news.set_result(None)

    async def start(self) -> None:
        """Begin to refresh."""
        self._task = asyncio.create_task(self._refresh_forever())

    async def stop(self) -> None:
        """End it."""
        self.release()
        await end(self._task)

    async def _refresh_forever(self) -> None:
        failing = False
        while True:
            began_s = time.monotonic()
            try:
                overrides = await self._read_active()
            except StoreError as error:
                if not failing:
                    _log.warning("levels in force cannot be read; the last known ones count", reason=str(error))
                failing, self._fresh = True, False
                await asyncio.sleep(_RETRY_S)
                continue
            failing, self._fresh = False, True
            grouped = by_component(overrides)
            self._hashes = {c: configuration_hash(some).hex() for c, some in grouped.items()}
            self._tell(grouped, began_s)
            await asyncio.sleep(REFRESH_S)

    def _tell(self, grouped: dict[str, list[LevelOverride]], began_s: float) -> None:
        """Give their news to those who waited before the look began."""
        for waiter in self._waiters:
            if waiter.since_s >= began_s or waiter.news.done():
                continue
            if self._hashes.get(waiter.component, self._none) != waiter.has:
                waiter.news.set_result(grouped.get(waiter.component, []))
