"""The receiver as one thing that starts and stops: both transports, the batcher and the upkeep of partitions."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from otel_ingest.batcher import Batcher
from otel_ingest.config import Settings
from otel_ingest.connections import TransportServer
from otel_ingest.decoder import Decoder
from otel_ingest.ending import end
from otel_ingest.levels import LevelConfigurations
from storage.errors import StoreError

_log = structlog.get_logger(__name__)

# Partitions are made days ahead and digests may lie longer than they must: a look that is missed harms nobody.
_MAINTENANCE_RETRY_S = 30.0
# Whoever counts reads what was not added up yet, a row or more for each transaction.
_COMPACT_EVERY_S = 60.0
# Of drain_timeout_s: requests may be answered for so long; the rest is for what is queued then.
_TRANSPORTS_SHARE = 0.75


@dataclass(slots=True)
class Receiver:
    """The parts of the write side, built by the composition root."""

    settings: Settings
    batcher: Batcher
    decoder: Decoder
    http: TransportServer
    grpc: TransportServer
    maintain: Callable[[datetime], Awaitable[Any]]
    compact: Callable[[], Awaitable[Any]]
    levels: LevelConfigurations
    stop_draining: Callable[[], Awaitable[None]]
    _upkeep: asyncio.Task[None] | None = None
    _adding_up: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen on both transports, and look after the partitions of the days to come."""
        self._upkeep = asyncio.create_task(self._keep_partitions())
        self._adding_up = asyncio.create_task(self._add_up())
        await self.levels.start()
        await self.http.start()
        await self.grpc.start()

    async def stop(self) -> None:
        """Stop listening, answer and commit what was accepted, stop the upkeep. Takes drain_timeout_s at most."""
        deadline_s = self.settings.drain_timeout_s
        began_s = time.monotonic()
        await self.stop_draining()
        self.levels.release()
        grace_s = deadline_s * _TRANSPORTS_SHARE
        await asyncio.gather(self.http.stop(grace_s), self.grpc.stop(grace_s))
        await self.batcher.close(max(1.0, deadline_s - (time.monotonic() - began_s)))
        await self.decoder.close()
        await self.levels.stop()
        await end(self._upkeep, self._adding_up)

    async def _keep_partitions(self) -> None:
        """Look after the store each upkeep_interval_s; one that is away is tried again sooner."""
        interval_s = wait_s = self.settings.upkeep_interval_s
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.maintain(datetime.now(UTC))
                wait_s = interval_s
            except StoreError as error:
                _log.warning("the store is not looked after, trying again", reason=str(error))
                wait_s = min(interval_s, _MAINTENANCE_RETRY_S)

    async def _add_up(self) -> None:
        """Add up the counts; a time that is missed is made up for by the next."""
        while True:
            await asyncio.sleep(_COMPACT_EVERY_S)
            try:
                await self.compact()
            except StoreError as error:
                _log.warning("the counts are not added up, trying again", reason=str(error))


def close_sockets(sockets: list[socket.socket]) -> None:
    """Close sockets of a start that failed."""
    for sock in sockets:
        sock.close()
