"""Step 5, group commit: a writer takes all that is queued, copies, commits, answers, and takes again.

There is no timer: alone, a request is committed at once; under load a batch is what arrived during the last commit.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from otel_ingest.ending import end
from otel_ingest.errors import StoreAway, StoreUnavailable
from otel_ingest.fair_queue import FairQueue
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from storage.api import Outcome, RowSink
from storage.batch import Batch
from storage.errors import PermanentStoreError, RetryableStoreError

_log = structlog.get_logger(__name__)

# One transaction's worth: more does not make COPY faster, and all of its senders, and who comes next, wait for it.
FLUSH_BYTES_MAX = 4 * 1024 * 1024
# The SDKs' whole deadline is 10 s: after this it goes to the spool, or the sender had better try again itself.
PATIENCE_S = 3.0
# A large transaction takes its time while all is well; less than this PostgreSQL does not write on any machine we know.
_SLOW_BYTES_PER_S = 8 * 1024 * 1024
_RETRY_PAUSE_S = 0.2
_WATCH_EVERY_S = 0.25
# A server that answers nothing, behind a network that says nothing: the connection is given up.
_WRITE_TIMEOUT_S = 30.0
# psycopg asks the server to cancel, for 5 s, and waits for that for 5 s more.
_CANCEL_TIMEOUT_S = 15.0


@dataclass(slots=True)
class _Entry:
    batch: Batch
    done: asyncio.Future[Outcome]

    @property
    def replayed(self) -> bool:
        """Whether it comes from the spool: it has nowhere else to go, and waits."""
        return self.batch.place is not None


@dataclass(slots=True, eq=False)
class _Write:
    """A transaction under way."""

    entries: list[_Entry]
    started_s: float = field(default_factory=time.monotonic)

    @property
    def due_s(self) -> float:
        """When it should have been at its end, but for PATIENCE_S."""
        return self.started_s + sum(e.batch.size_bytes for e in self.entries) / _SLOW_BYTES_PER_S


class Batcher:
    """The queue for PostgreSQL and the writers that empty it into the sink; fair between tables and components.

    ``spooled``: there is a spool. A request that PostgreSQL does not take is given up after PATIENCE_S then, also while
    its transaction is stuck, and nobody waits once PostgreSQL is known to be away.
    """

    def __init__(
        self,
        sink: RowSink,
        stats: ReceiverStats,
        *,
        writers: int,
        queue_bytes_max: int,
        state: StoreState | None = None,
        spooled: bool = False,
    ) -> None:
        self._sink = sink
        self._stats = stats
        self._state = state or StoreState()
        self._writers = writers
        self._spooled = spooled
        self._queue: FairQueue[_Entry] = FairQueue()
        self._wake = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._under_way: set[_Write] = set()
        self._committed_s = time.monotonic()
        self._closing = False
        stats.queue_capacity_bytes = queue_bytes_max

    def start(self) -> None:
        """Start the writers."""
        self._tasks = [asyncio.create_task(self._write_loop()) for _ in range(self._writers)]
        if self._spooled:
            self._watch = asyncio.create_task(self._watch_loop())

    async def submit(self, batch: Batch) -> Outcome:
        """Return, after COMMIT, what became of the batch.

        Raises StoreAway: PostgreSQL does not take it; nothing was stored, or ``batch.attempts`` tell which transaction
        may have. Raises StoreUnavailable: nothing was stored, try again.
        """
        if self._closing:
            raise StoreUnavailable("the server is stopping")
        if self._spooled and self._state.is_away and batch.place is None:
            raise StoreAway(f"PostgreSQL is away: {self._state.reason}")
        if self._stats.queue_bytes + batch.size_bytes > self._stats.queue_capacity_bytes and self._stats.queue_bytes:
            raise StoreUnavailable("the queue for PostgreSQL is full")
        entry = _Entry(batch, asyncio.get_running_loop().create_future())
        self._stats.queue_bytes += batch.size_bytes
        async with self._wake:
            self._queue.put(entry, (batch.table.name, entry.replayed), batch.component, batch.size_bytes)
            self._wake.notify()
        # Who is cancelled here takes its own answer with it, and neither its rows nor its neighbours'.
        return await entry.done

    async def close(self, timeout_s: float) -> None:
        """Take nothing more, write what is queued, return; what is not written in time is given up.

        What is under way to a PostgreSQL that is known to be away is in the spool already: it is not waited for.
        """
        self._closing = True
        async with self._wake:
            self._wake.notify_all()
        if self._tasks:
            hopeless = self._spooled and self._state.is_away
            _, late = await asyncio.wait(self._tasks, timeout=0 if hopeless else timeout_s)
            if late:
                self._give_up("the server is stopping", self._stuck(), everything=True)
                await end(*late)
        await end(self._watch)

    async def _write_loop(self) -> None:
        while True:
            async with self._wake:
                while not self._queue:
                    if self._closing:
                        return
                    await self._wake.wait()
                entries = self._queue.take(FLUSH_BYTES_MAX)
            write = _Write(entries)
            self._under_way.add(write)
            try:
                await self._commit(entries)
            finally:
                self._under_way.discard(write)
                self._stats.queue_bytes -= sum(e.batch.size_bytes for e in entries)
                # Until there is something new a writer must not keep the rows of its last commit in memory.
                del entries, write

    async def _commit(self, entries: list[_Entry]) -> None:
        started = time.perf_counter()
        try:
            outcomes = await self._write(entries)
        except (RetryableStoreError, PermanentStoreError) as error:
            self._refused(entries, str(error))
            return
        except asyncio.CancelledError:
            _settle(entries, StoreAway("the server is stopping"))
            raise
        except Exception:  # noqa: BLE001 - a bug: its senders keep their data, the loop says so and goes on
            self._stats.bugs.inc()
            _settle(entries, StoreUnavailable("not stored: an unexpected error in the server"))
            _log.exception("unexpected error while storing")
            return
        if not outcomes:  # all were given up meanwhile: nothing was written, so nothing is proven
            return
        self._committed_s = time.monotonic()
        self._state.back()
        self._stats.commit_s.observe(time.perf_counter() - started)
        self._stats.batch_rows.observe(sum(len(e.batch.rows) for e in entries))
        for entry, outcome in outcomes:
            if outcome.busy:
                _settle([entry], StoreUnavailable("the same request is being stored at this moment"))
            elif not entry.done.done():
                entry.done.set_result(outcome)

    def _refused(self, entries: list[_Entry], reason: str) -> None:
        """Tell who waits; with a spool, those too who would wait for the same."""
        _log.warning("not stored", requests=len(entries), reason=reason)
        if not all(entry.replayed for entry in entries):
            self._state.away(reason)
        _settle(entries, StoreAway(f"not stored: {reason}"))
        if self._spooled and self._state.is_away:
            self._give_up(reason, stuck=[])

    async def _write(self, entries: list[_Entry]) -> list[tuple[_Entry, Outcome]]:
        """Write, trying again for a bounded time while PostgreSQL is away; return what became of each that waits."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            waited_for = [e for e in entries if not e.batch.abandoned]
            if not waited_for:
                return []
            try:
                outcomes = await self._bounded([e.batch for e in waited_for])
                return list(zip(waited_for, outcomes, strict=True))
            except RetryableStoreError:
                known = self._spooled and self._state.is_away
                if known or time.monotonic() + _RETRY_PAUSE_S > deadline:
                    if all(e.batch.abandoned for e in waited_for):
                        return []
                    raise
            await asyncio.sleep(_RETRY_PAUSE_S)

    async def _bounded(self, batches: list[Batch]) -> list[Outcome]:
        """Write once, for a bounded time however the connection is stuck."""
        write = asyncio.create_task(self._sink.write(batches))
        try:
            done, _ = await asyncio.wait([write], timeout=_WRITE_TIMEOUT_S)
        except asyncio.CancelledError:
            write.cancel()
            await asyncio.wait([write], timeout=_CANCEL_TIMEOUT_S)
            raise
        if done:
            return write.result()
        write.cancel()
        await asyncio.wait([write], timeout=_CANCEL_TIMEOUT_S)
        if write.done() and not write.cancelled() and write.exception() is None:
            return write.result()
        raise RetryableStoreError(f"PostgreSQL did not answer for {_WRITE_TIMEOUT_S:.0f} s")

    async def _watch_loop(self) -> None:
        """See a PostgreSQL that neither commits nor fails."""
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            oldest_s = min((w.due_s for w in self._under_way if not all(e.replayed for e in w.entries)), default=None)
            stuck_since_s = max(oldest_s, self._committed_s) if oldest_s is not None else time.monotonic()
            if time.monotonic() - stuck_since_s > PATIENCE_S:
                self._state.away(f"no commit for {PATIENCE_S:.0f} s")
                self._give_up(self._state.reason, self._stuck())

    def _stuck(self) -> list[_Entry]:
        return [e for write in self._under_way for e in write.entries]

    def _give_up(self, reason: str, stuck: list[_Entry], *, everything: bool = False) -> None:
        """Let those in the queue and ``stuck`` ones wait no longer; who is replayed waits on, unless ``everything``."""
        queued = self._queue.remove(lambda e: everything or not e.replayed)
        self._stats.queue_bytes -= sum(e.batch.size_bytes for e in queued)
        given_up = [e for e in stuck if (everything or not e.replayed) and not e.done.done()]
        for entry in given_up:
            entry.batch.abandoned = True
        _settle([*queued, *given_up], StoreAway(f"PostgreSQL is away: {reason}"))


def _settle(entries: Iterable[_Entry], error: Exception) -> None:
    for entry in entries:
        if not entry.done.done():
            entry.done.set_exception(error)
            # Its sender may have gone away; an error nobody waits for is not a warning of ours.
            entry.done.exception()
