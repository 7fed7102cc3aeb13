"""The queue between the application and its exporting thread: bounded, never blocking, counting what it drops.

Takes the place of the SDK's BatchProcessor inside its Batch*Processor (same methods), whichever way the SDK was
configured: that one drops the oldest records in silence, joins its thread for 30 s at exit, and empties nothing when
the process ends by a signal.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from otel_ingest_instrumentation import guard, loud, pace

Export = Callable[[Sequence[Any]], object]
Dropped = Callable[[int, int, int], None]  # records, first and last nanoseconds


_CROWD = 4  # batches that wait: from there on what is queued counts more than who waits


class BatchQueue:
    """Records of one signal on their way to ``export``; limits in records and seconds."""

    def __init__(self, export: Export, dropped: Dropped, *, size_max: int, batch_max: int, delay_s: float) -> None:
        """No thread runs before the first record."""
        self._export = export
        self._dropped = dropped
        self._size_max = size_max
        self._batch_max = batch_max
        self._delay_s = delay_s
        self._queue: deque[Any] = deque()
        self._wake = threading.Event()
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._drops = 0
        self._drops_from = 0
        self._in_hand: dict[int, int] = {}  # thread: records that it is exporting
        self._leaving = False

    def emit(self, record: Any) -> None:
        """Take a record, or count it: the application's thread does no more than this."""
        queue = self._queue
        if len(queue) >= self._size_max:
            if not self._drops:
                self._drops_from = time.time_ns()
            self._drops += 1
            return
        queue.append(record)
        if self._thread is None:
            self._start()
        elif len(queue) >= self._batch_max and not self._wake.is_set():
            self._wake.set()

    def force_flush(self, timeout_millis: float | None = None) -> bool:  # noqa: ARG002  # one try is bounded by itself
        """Export what is queued, in the calling thread."""
        self.drain()
        return True

    def shutdown(self, timeout_millis: float = 30000) -> None:  # noqa: ARG002
        """Export what is queued; later records are exported as they come."""
        self._stopped = True
        self._wake.set()
        self.drain()

    def drain(self) -> None:
        """Export batch by batch until nothing is queued."""
        while batch := self._take():
            self._hand_over(batch)
        self._say_drops()

    def leave(self) -> None:
        """Have the exporting thread end with the batch it has in hand: from now on ``drain`` empties the queue.

        Two threads that compute by turns take longer than one.
        """
        self._leaving = True
        self._wake.set()

    def settle(self, wait_s: float) -> None:
        """Wait until the batch that the exporting thread has in hand is delivered, kept, or known to be in flight."""
        if self._busy.acquire(timeout=max(0.0, wait_s)):
            self._busy.release()

    def empty(self) -> bool:
        """Return whether nothing waits here."""
        return not self._queue and not self._drops and not self._busy.locked()

    def held(self) -> int:
        """Return how many records are neither delivered nor kept yet."""
        return len(self._queue) + sum(list(self._in_hand.values()))

    def reset_after_fork(self) -> None:
        """Begin anew in a child: what is queued is the parent's."""
        self._queue = deque()
        self._wake = threading.Event()
        self._busy = threading.Lock()
        self._thread = None
        self._drops = 0
        self._in_hand = {}
        self._leaving = False

    def _take(self) -> list[Any]:
        batch: list[Any] = []
        queue = self._queue
        try:
            while len(batch) < self._batch_max:
                batch.append(queue.popleft())
        except IndexError:
            pass
        return batch

    def _hand_over(self, batch: Sequence[Any]) -> None:
        me = threading.get_ident()
        self._in_hand[me] = len(batch)
        with guard.exporting():
            try:
                self._export(batch)
            except Exception as error:  # noqa: BLE001  # the application never sees one of ours
                loud.say(f"export: {type(error).__name__}: {error}", kind="export")
        self._in_hand.pop(me, None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="otel-ingest-queue", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # too late for threads: the exit hooks drain
            self._thread = None

    def _run(self) -> None:
        me = threading.current_thread()
        while not (self._stopped or self._leaving) and self._thread is me:
            self._wake.wait(self._delay_s)
            self._wake.clear()
            more = not self._leaving
            while more:
                with self._busy:
                    if batch := self._take():
                        pace.begin(gentle=len(self._queue) < _CROWD * self._batch_max)
                        self._hand_over(batch)
                more = len(self._queue) >= self._batch_max and not self._leaving
            self._say_drops()

    def _say_drops(self) -> None:
        if self._drops:
            drops, self._drops = self._drops, 0
            self._dropped(drops, self._drops_from, time.time_ns())
