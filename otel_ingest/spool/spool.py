"""One spool directory in the event loop: many requests, one fsync; what is at rest.

All system calls are made by one thread of its own, in order: the log needs no lock, and a slow disk does not stop the
event loop.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from otel_ingest.errors import StoreUnavailable
from otel_ingest.spool.disk import RealDisk
from otel_ingest.spool.format import Contents, Damage, Frame, SpooledRequest
from otel_ingest.spool.owner import Owned
from otel_ingest.spool.segments import Segment, SegmentLog, SpoolError, SpoolFullError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# One fsync's worth; those who wait for it wait for all of it.
_GROUP_BYTES_MAX = 8 * 1024 * 1024
# A disk that refuses is said so, but not for every request.
_COMPLAIN_EVERY_S = 10.0


@dataclass(slots=True)
class SpoolCounts:
    """What happened to this spool since the process began; ``fsync_s`` is for a histogram."""

    spooled_requests: int = 0
    refused_requests: int = 0
    drained_requests: int = 0
    set_aside_bytes: int = 0
    observe_fsync_s: Callable[[float], object] = field(default=lambda _: None)


@dataclass(slots=True)
class _Waiting:
    request: SpooledRequest
    done: asyncio.Future[None]


class Spool:
    """A directory that this process owns. ``open`` first, ``close`` last."""

    def __init__(self, owned: Owned, *, bytes_max: int, counts: SpoolCounts | None = None) -> None:
        self.path: Path = owned.path
        self.bytes_max = bytes_max
        self.counts = counts or SpoolCounts()
        self._filled = asyncio.Event()
        self._owned = owned
        self._log = SegmentLog(
            RealDisk(owned.path), bytes_max=bytes_max, new_id=lambda: os.urandom(16), clock_ns=time.time_ns
        )
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None
        self._complained_s = -_COMPLAIN_EVERY_S
        self.refusing = ""
        """Why the last append was refused; empty when it was not."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"spool-{owned.path.name}")

    async def open(self) -> Contents:
        """Find what a former process left and begin to take requests; return what is at rest. Raises OSError."""
        await self._in_thread(self._log.recover)
        self._note()
        self._writer = asyncio.create_task(self._write_loop())
        return self.contents

    @property
    def filled(self) -> bool:
        """Whether anything is at rest."""
        return self._filled.is_set()

    async def until_filled(self) -> None:
        """Wait until something is at rest."""
        await self._filled.wait()

    @property
    def contents(self) -> Contents:
        """What is at rest."""
        return self._log.contents

    @property
    def used_bytes(self) -> int:
        """Bytes of all files."""
        return self._log.used_bytes

    @property
    def set_aside_bytes(self) -> int:
        """Bytes of what was damaged or could not be stored, kept for somebody's eyes."""
        return self._log.set_aside_bytes

    async def append(self, request: SpooledRequest) -> None:
        """Return once the request is on the disk. Raises StoreUnavailable: it is not in the spool."""
        if self._closing:
            raise StoreUnavailable("the server is stopping")
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        await asyncio.shield(waiting.done)

    async def read(self, segment: Segment) -> AsyncIterator[Frame | Damage]:
        """Yield what is in a segment that is closed. Raises OSError."""
        items = self._log.read(segment)
        while (item := await self._in_thread(lambda: next(items, None))) is not None:
            yield item

    async def closed_segments(self) -> list[Segment]:
        """Return what can be read and removed, the oldest first; the open segment is closed when it is the only one."""
        await self._in_thread(self._seal_if_alone)
        return self._log.closed

    def settled(self, segment: Segment, request: SpooledRequest) -> None:
        """Count a request as at rest no longer; its segment is removed once all are."""
        self._log.settled(segment, request)
        self.counts.drained_requests += 1

    async def set_aside(self, segment: Segment, offset: int, length: int) -> str:
        """Copy bytes to a file beside, return its name. Raises OSError."""
        name = await self._in_thread(lambda: self._log.set_aside(segment, offset, length))
        self.counts.set_aside_bytes += length
        return name

    async def remove(self, segment: Segment) -> None:
        """Remove a segment for good. Raises OSError."""
        await self._in_thread(lambda: self._log.remove(segment))
        self._note()

    async def close(self) -> None:
        """Write what waits, close the open segment, give the directory up. More than once is fine."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
            self._writer = None
            await self._in_thread(self._log.seal)
            self._thread.shutdown()
        self._owned.release()

    async def _write_loop(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._write(self._take())

    def _take(self) -> list[_Waiting]:
        group, size = [self._waiting.popleft()], 0
        size = len(group[0].request.body)
        while self._waiting and size + len(self._waiting[0].request.body) <= _GROUP_BYTES_MAX:
            size += len(self._waiting[0].request.body)
            group.append(self._waiting.popleft())
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        """Append a group with one fsync and answer it; where there is no room for all, one by one."""
        started = time.perf_counter()
        try:
            await self._in_thread(lambda: self._log.append([w.request for w in group]))
        except SpoolFullError as error:
            if len(group) > 1:
                for waiting in group:
                    await self._write([waiting])
                return
            self._refuse(group, str(error))
        except SpoolError as error:
            self._refuse(group, str(error))
        except Exception as error:  # noqa: BLE001 - a bug: its senders keep their data
            self._refuse(group, "an unexpected error in the spool")
            _log.error("unexpected error in the spool", exc_info=error)
        else:
            self.refusing = ""
            self.counts.spooled_requests += len(group)
            self.counts.observe_fsync_s(time.perf_counter() - started)
            self._note()
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_result(None)

    def _refuse(self, group: list[_Waiting], why: str) -> None:
        self.refusing = why
        self.counts.refused_requests += len(group)
        now = time.monotonic()
        if now - self._complained_s > _COMPLAIN_EVERY_S:
            self._complained_s = now
            _log.error("the spool refuses requests", reason=why, directory=str(self.path))
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(StoreUnavailable(f"PostgreSQL is away, and {why}"))
                waiting.done.exception()

    def _seal_if_alone(self) -> None:
        if not self._log.closed:
            self._log.seal()

    def _note(self) -> None:
        if self._log.segments:
            self._filled.set()
        else:
            self._filled.clear()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
