"""Delivery of encoded batches: one try at once, then a ring in memory, then the spool; a thread sends what waits.

Nothing here blocks longer than one try or raises; what is dropped is counted (losses.py).
"""

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from otel_ingest_instrumentation import batches, guard, loud
from otel_ingest_instrumentation.losses import Losses
from otel_ingest_instrumentation.outcome import Batch, Outcome, Verdict
from otel_ingest_instrumentation.settings import Settings
from otel_ingest_instrumentation.spool import Spool, SpoolError, Ticket
from otel_ingest_instrumentation.transport import Transport

RETRIES_IN_MEMORY = 5  # tries before what waits goes to disk: about 8 s, longer than a rollout's gap
BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 15.0  # one small request a process: what an outage adds to itself when it ends
ADOPT_S = 60.0  # between two looks for files of processes that are gone
DEAD_BYTES_MAX = 64 << 20  # refused batches kept for a person to look at
_POISON_TRIES = 5  # failures of the oldest batch after which a fresh one may show that it is the batch, not the server


class Delivery:
    """All signals of one process; ``transports`` by signal."""

    def __init__(self, settings: Settings, transports: Mapping[str, Transport]) -> None:
        """Nothing is opened and no thread runs before the first batch."""
        self.losses = Losses()
        self.resource: Any = None  # of the latest records: the report of a loss is made in its name
        self.on_config: Callable[[str], None] | None = None  # told the configuration's hash of each answer
        self.refused = 0
        self._settings = settings
        self._transports = dict(transports)
        directory = settings.spool_dir / _safe(settings.service)
        self._spool = Spool(directory, settings.spool_bytes_max, settings.spool_age_max_s, self.losses.add)
        self._dead = Spool(directory, DEAD_BYTES_MAX, float("inf"), self._forget_dead, ".dead")
        self._ring: deque[Batch] = deque()
        self._ring_lock = threading.Lock()
        self._ring_bytes = 0
        self._in_flight: dict[str, Batch] = {}
        self._failures = 0
        self._not_before = 0.0
        self._head_tries: tuple[str, int] = ("", 0)
        self._exit_by: float | None = None
        self._disk_says = ""
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._adopted_at = -ADOPT_S
        self.losses.on_add = self._wake.set

    def reset_after_fork(self) -> None:
        """Begin anew in a child: what waits is the parent's, connections are not shared."""
        self.losses.reset_after_fork()
        for transport in self._transports.values():
            transport.reset_after_fork()
        self._spool.reset_after_fork()
        self._dead.reset_after_fork()
        self._ring = deque()
        self._ring_lock = threading.Lock()
        self._ring_bytes = 0
        self._in_flight = {}
        self._wake = threading.Event()
        self._thread = None
        self._exit_by = None
        self._head_tries = ("", 0)
        self.losses.on_add = self._wake.set

    def start(self) -> None:
        """Start the sending thread, once; it also looks for what former processes left."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="otel-ingest-delivery", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is on its way out; flush() does what is left
                self._thread = None

    def submit(self, batch: Batch) -> None:
        """Take a batch: it is delivered, waits in memory or on disk, or is counted as lost when this returns."""
        self.start()
        self._in_flight[batch.id] = batch  # before it is on disk: the sending thread leaves it alone
        ticket = self._write_ahead(batch) if self._settings.spool == "always" else None
        try:
            if self._may_try():
                self._settle(batch, ticket, self._try(batch))
            else:
                self._keep(batch, ticket)
        finally:
            self._in_flight.pop(batch.id, None)

    def leave_by(self, budget_s: float) -> None:
        """From now on the network gets ``budget_s`` in all; the sending thread ends."""
        self._exit_by = time.monotonic() + budget_s
        self._wake.set()

    def flush(self) -> None:
        """Empty memory: sent while that works and ``leave_by`` allows, then to the spool."""
        with guard.exporting():
            while self._may_try() and (batch := self._pop()) is not None:
                self._settle(batch, None, self._try(batch))
                self._in_flight.pop(batch.id, None)
            while self._in_flight and self._exit_by is not None and time.monotonic() < self._exit_by:
                time.sleep(0.01)  # noqa: TID251  # a bounded wait for another thread's try, not on the application's time
            for batch in list(self._in_flight.values()):
                self._to_disk(batch)  # if it arrived after all, the receiver knows its id
                self._in_flight.pop(batch.id, None)
            while (batch := self._pop()) is not None:
                self._to_disk(batch)
                self._in_flight.pop(batch.id, None)

    def close(self) -> None:
        """Give the spool's files up for the next process."""
        with suppress(SpoolError, OSError):
            self._spool.close()
            self._dead.close()

    def idle(self) -> bool:
        """Return whether nothing waits in memory."""
        return not self._ring and not self._in_flight

    def spool_bytes(self) -> int:
        """Return the bytes that wait on disk."""
        return self._spool.pending_bytes()

    def _may_try(self) -> bool:
        if self._exit_by is not None and time.monotonic() >= self._exit_by:
            return False
        return self._failures == 0 or (self._head_tries[1] >= _POISON_TRIES and time.monotonic() >= self._not_before)

    def _try(self, batch: Batch) -> Outcome:
        transport = self._transports[batch.signal]
        left = None if self._exit_by is None else max(0.05, self._exit_by - time.monotonic())
        try:
            with guard.exporting():
                outcome = transport.send(batch, left)
        except Exception as error:  # noqa: BLE001  # a transport's mistake must not cost the batch
            outcome = Outcome(Verdict.RETRY, f"{type(error).__name__}: {error}")
        if transport.config and self.on_config is not None:
            self.on_config(transport.config)
        return outcome

    def _settle(self, batch: Batch, ticket: Ticket | None, outcome: Outcome) -> None:
        """Do what a try's outcome asks for."""
        if outcome.verdict is Verdict.RETRY:
            self._failed(outcome)
            self._keep(batch, ticket)
            return
        self._succeeded(batch)
        if outcome.verdict is Verdict.SPLIT and (parts := batches.halves(batch)):
            for part in parts:
                self._keep(part, None)
            self._wake.set()
        elif outcome.verdict is not Verdict.DELIVERED:
            self._refuse(batch, outcome)
        elif outcome.rejected:
            text = f"{outcome.rejected:,} of {batch.count:,} {batch.signal} rejected by the receiver: {outcome.detail}"
            loud.say(text, kind=f"rejected {batch.signal}")
        if ticket is not None:
            self._done(ticket)

    def _succeeded(self, batch: Batch) -> None:
        head, tries = self._head_tries
        if tries >= _POISON_TRIES and head != batch.id:
            self._dead_head(head, tries)
        self._head_tries = ("", 0)
        self._failures = 0
        self._not_before = 0.0
        if self._ring or self._spool.holds():
            self._wake.set()

    def _failed(self, outcome: Outcome) -> None:
        self._failures += 1
        delay = random.uniform(0, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(self._failures, 10)))  # noqa: S311
        if outcome.retry_after_s is not None:
            delay = max(delay, outcome.retry_after_s)
        self._not_before = time.monotonic() + delay
        if self._failures == RETRIES_IN_MEMORY:
            where = "the local spool" if self._settings.spool != "off" else "memory"
            loud.say(f"nothing can be sent, records go to {where}: {outcome.detail}", kind="outage")
            if self._settings.spool != "off":
                self._empty_memory()

    def _empty_memory(self) -> None:
        """Move the ring to the spool, as far as that takes it."""
        while (batch := self._pop()) is not None:
            written = self._append(batch)
            if not written:
                self._put_back(batch)
            self._in_flight.pop(batch.id, None)
            if not written:
                return

    def _put_back(self, batch: Batch) -> None:
        with self._ring_lock:
            self._ring.appendleft(batch)
            self._ring_bytes += len(batch.body)

    def _keep(self, batch: Batch, ticket: Ticket | None) -> None:
        """Hold a batch for a later try."""
        if ticket is not None:  # on disk already
            return
        full = self._ring_bytes + len(batch.body) > self._settings.memory_bytes_max
        leaving = self._exit_by is not None and time.monotonic() >= self._exit_by
        if leaving or full:
            self._to_disk(batch)
        elif self._failures < RETRIES_IN_MEMORY or self._settings.spool == "off" or not self._append(batch):
            with self._ring_lock:
                self._ring.append(batch)
                self._ring_bytes += len(batch.body)
            self._wake.set()

    def _pop(self) -> Batch | None:
        """Take the oldest batch of the ring; it is in flight from then on, so that an exit never misses it."""
        with self._ring_lock:
            if not self._ring:
                return None
            batch = self._ring.popleft()
            self._in_flight[batch.id] = batch
            self._ring_bytes -= len(batch.body)
        return batch

    def _to_disk(self, batch: Batch) -> None:
        """Write a batch that memory has no room for, or count it as lost."""
        reason = "no room in memory, and the spool is off"
        if self._settings.spool != "off":
            if self._append(batch):
                return
            reason = self._disk_says or "the spool was full"
        self.losses.add(batch.signal, batch.count, batch.first, batch.last, reason)

    def _append(self, batch: Batch) -> bool:
        try:
            self._disk_says = ""
            return self._spool.append(batch) is not None
        except (SpoolError, OSError) as error:
            self._disk_says = str(error)
            loud.say(f"the spool takes nothing: {error}", kind="spool")
            return False

    def _write_ahead(self, batch: Batch) -> Ticket | None:
        try:
            return self._spool.append(batch)
        except (SpoolError, OSError) as error:
            loud.say(f"the spool takes nothing: {error}", kind="spool")
            return None

    def _done(self, ticket: Ticket) -> None:
        with suppress(SpoolError, OSError):
            self._spool.done(ticket)

    def _refuse(self, batch: Batch, outcome: Outcome) -> None:
        self.refused += batch.count
        reason = self._bury(batch)
        if reason:
            self.losses.add(batch.signal, batch.count, batch.first, batch.last, f"refused, and {reason}")
        kept = "lost" if reason else "kept in the dead-letter file"
        loud.say(f"{batch.count:,} {batch.signal} refused, {kept}: {outcome.detail}", kind=f"refused {batch.signal}")

    def _bury(self, batch: Batch) -> str:
        """Write a batch to the dead letters; return why not, or nothing."""
        if self._settings.spool == "off":
            return "the spool is off"
        try:
            return "" if self._dead.append(batch) else "the dead-letter file is full"
        except (SpoolError, OSError) as error:
            return str(error)

    def _forget_dead(self, signal: str, count: int, first: int, last: int, _reason: str) -> None:
        self.losses.add(signal, count, first, last, "refused, and the dead-letter file was full")

    def _dead_head(self, head: str, tries: int) -> None:
        """Put the batch that fails while others pass out of the way."""
        oldest = self._oldest()
        if oldest is not None and oldest[1].id == head:
            self._refuse(oldest[1], Outcome(Verdict.REFUSED, f"it failed {tries} times while others passed"))
            if oldest[0] is not None:
                self._done(oldest[0])
        if oldest is not None and oldest[0] is None:
            if oldest[1].id != head:
                self._keep(oldest[1], None)
            self._in_flight.pop(oldest[1].id, None)

    def _oldest(self) -> tuple[Ticket | None, Batch] | None:
        try:
            spooled = self._spool.oldest()
        except (SpoolError, OSError):
            spooled = None
        if spooled is not None:
            return spooled
        batch = self._pop()
        return None if batch is None else (None, batch)

    def _run(self) -> None:
        with guard.exporting():
            while self._exit_by is None:
                try:
                    self._step()
                except Exception as error:  # noqa: BLE001  # the thread outlives every mistake
                    loud.say(f"delivery: {type(error).__name__}: {error}", kind="delivery")
                    self._wake.wait(1.0)

    def _step(self) -> None:
        """Wait for something to send and for its time; send one batch."""
        now = time.monotonic()
        if self._settings.spool != "off" and now - self._adopted_at >= ADOPT_S and self._failures == 0:
            self._adopted_at = now
            self._spool.adopt()
        if now >= self._not_before and self.losses.open:
            self._report()
        if not self._ring and not self._spool.holds():
            self._wake.wait(ADOPT_S)
            self._wake.clear()
            return
        if now < self._not_before:
            self._wake.wait(min(self._not_before - now, 1.0))
            self._wake.clear()
            return
        oldest = self._oldest()
        if oldest is None:
            return
        ticket, batch = oldest
        if ticket is not None and batch.id in self._in_flight:  # written ahead, and being sent by its own thread
            self._wake.wait(0.05)
            return
        outcome = self._try(batch)
        if outcome.verdict is Verdict.RETRY:
            self._head_tries = (batch.id, self._head_tries[1] + 1 if self._head_tries[0] == batch.id else 1)
            if ticket is None:
                self._put_back(batch)
                self._in_flight.pop(batch.id, None)
            self._failed(outcome)
            return
        self._settle(batch, ticket, outcome)
        self._in_flight.pop(batch.id, None)

    def _report(self) -> None:
        """Tell the receiver what was lost, once it can be told."""
        losses = self.losses.take()
        outcome = self._try(batches.loss_report(losses, self.resource))
        if outcome.verdict is Verdict.RETRY:
            self.losses.give_back(losses)
            self._failed(outcome)


def _safe(service: str) -> str:
    """Return a directory's name for a service: no separators, not hidden, not long."""
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in service)[:64].lstrip(".")
    return name or f"service-{os.getuid()}"
