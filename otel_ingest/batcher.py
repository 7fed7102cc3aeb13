"""Step 5, group commit: a writer takes all that is queued, copies, commits, answers, and takes again.

There is no timer: alone, a request is committed at once; under load a batch is what arrived during the last commit.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import structlog

from otel_ingest.errors import StoreUnavailable
from otel_ingest.stats import ReceiverStats
from storage.api import Outcome, RowSink
from storage.batch import Batch
from storage.errors import PermanentStoreError, RetryableStoreError

_log = structlog.get_logger(__name__)

# One transaction's worth: more does not make COPY faster, and its senders wait for all of it.
FLUSH_BYTES_MAX = 16 * 1024 * 1024
# The SDKs' whole deadline is 10 s; after this the sender had better try again itself.
RETRY_DEADLINE_S = 3.0
_RETRY_PAUSE_S = 0.2


@dataclass(slots=True)
class _Entry:
    batch: Batch
    done: asyncio.Future[Outcome]


class Batcher:
    """A queue for each table and the writers that empty them into the sink."""

    def __init__(self, sink: RowSink, stats: ReceiverStats, *, writers: int, queue_bytes_max: int) -> None:
        self._sink = sink
        self._stats = stats
        self._writers = writers
        self._queues: dict[str, deque[_Entry]] = {}
        self._wake = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        stats.queue_capacity_bytes = queue_bytes_max

    def start(self) -> None:
        """Start the writers."""
        self._tasks = [asyncio.create_task(self._write_loop()) for _ in range(self._writers)]

    async def submit(self, batch: Batch) -> Outcome:
        """Return, after COMMIT, what became of the batch. Raises StoreUnavailable: nothing was stored, try again."""
        if self._closing:
            raise StoreUnavailable("the server is stopping")
        if self._stats.queue_bytes + batch.size_bytes > self._stats.queue_capacity_bytes and self._stats.queue_bytes:
            raise StoreUnavailable("the queue for PostgreSQL is full")
        entry = _Entry(batch, asyncio.get_running_loop().create_future())
        self._stats.queue_bytes += batch.size_bytes
        async with self._wake:
            self._queues.setdefault(batch.table.name, deque()).append(entry)
            self._wake.notify()
        # Shielded: a sender that goes away must not take its neighbours' commit with it.
        return await asyncio.shield(entry.done)

    async def close(self) -> None:
        """Take nothing more, write what is queued, return."""
        self._closing = True
        async with self._wake:
            self._wake.notify_all()
        await asyncio.gather(*self._tasks)

    async def _write_loop(self) -> None:
        while True:
            async with self._wake:
                while not any(self._queues.values()):
                    if self._closing:
                        return
                    await self._wake.wait()
                entries = self._take()
            try:
                await self._commit(entries)
            finally:
                self._stats.queue_bytes -= sum(e.batch.size_bytes for e in entries)

    def _take(self) -> list[_Entry]:
        """Take a transaction's worth of the table whose turn it is; tables take turns."""
        name = next(name for name, queue in self._queues.items() if queue)
        queue = self._queues.pop(name)
        entries = [queue.popleft()]
        size = entries[0].batch.size_bytes
        while queue and size + queue[0].batch.size_bytes <= FLUSH_BYTES_MAX:
            entry = queue.popleft()
            size += entry.batch.size_bytes
            entries.append(entry)
        self._queues[name] = queue
        return entries

    async def _commit(self, entries: list[_Entry]) -> None:
        started = time.perf_counter()
        try:
            outcomes = await self._write([e.batch for e in entries])
        except (RetryableStoreError, PermanentStoreError) as error:
            _log.warning("not stored", requests=len(entries), reason=str(error))
            for entry in entries:
                _settle(entry.done, StoreUnavailable(f"not stored: {error}"))
            return
        except BaseException as error:  # a bug: its senders keep their data, the loop says so and goes on
            self._stats.bugs.inc()
            for entry in entries:
                _settle(entry.done, StoreUnavailable("not stored: an unexpected error in the server"))
            if not isinstance(error, Exception):
                raise
            _log.exception("unexpected error while storing")
            return
        self._stats.commit_s.observe(time.perf_counter() - started)
        self._stats.batch_rows.observe(sum(len(e.batch.rows) for e in entries))
        for entry, outcome in zip(entries, outcomes, strict=True):
            if outcome.busy:
                _settle(entry.done, StoreUnavailable("the same request is being stored at this moment"))
            elif not entry.done.done():
                entry.done.set_result(outcome)

    async def _write(self, batches: list[Batch]) -> list[Outcome]:
        """Write, trying again for a bounded time while PostgreSQL is away."""
        deadline = time.monotonic() + RETRY_DEADLINE_S
        while True:
            try:
                return await self._sink.write(batches)
            except RetryableStoreError:
                if time.monotonic() + _RETRY_PAUSE_S > deadline:
                    raise
            await asyncio.sleep(_RETRY_PAUSE_S)


def _settle(done: asyncio.Future[Outcome], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
        # Its sender may have gone away; an error nobody waits for is not a warning of ours.
        done.exception()
