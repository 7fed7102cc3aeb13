"""The levels in force, as this receiver last read them: for the hash on export answers and for OpAMP.

Read again every half second in one small query: from the tool call to the first record of a raised level is to take
two seconds, of which the client's next batch is one.
"""

import asyncio
from collections.abc import Awaitable, Callable

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

ReadActive = Callable[[str | None], Awaitable[list[LevelOverride]]]
"""Returns what is in force, of one component or (None) of all. Raises StoreError."""

ConfigurationHash = Callable[[str | None], str | None]
"""Takes a component (None: a request of several, or of none); returns the hash to answer with."""


def no_configuration(_: str | None) -> None:
    """Answer without a hash."""


class LevelConfigurations:
    """The configuration of each component; ``start`` keeps it fresh until ``stop``."""

    def __init__(self, read_active: ReadActive) -> None:
        self._read_active = read_active
        self._hashes: dict[str, str] = {}
        self._none = configuration_hash([]).hex()
        self._task: asyncio.Task[None] | None = None

    def hash_of(self, component: str | None) -> str | None:
        """Return the hash of a component's configuration in hex, half a second old at most; None for no component."""
        return None if component is None else self._hashes.get(component, self._none)

    async def of(self, component: str) -> list[LevelOverride]:
        """Return what is in force for a component at this moment. Raises StoreError."""
        return await self._read_active(component)

    async def start(self) -> None:
        """Begin to refresh."""
        self._task = asyncio.create_task(self._refresh_forever())

    async def stop(self) -> None:
        """End it."""
        await end(self._task)

    async def _refresh_forever(self) -> None:
        failing = False
        while True:
            try:
                overrides = await self._read_active(None)
            except StoreError as error:
                if not failing:
                    _log.warning("levels in force cannot be read; the last known ones count", reason=str(error))
                failing = True
                await asyncio.sleep(_RETRY_S)
                continue
            failing = False
            self._hashes = {c: configuration_hash(some).hex() for c, some in by_component(overrides).items()}
            await asyncio.sleep(REFRESH_S)
