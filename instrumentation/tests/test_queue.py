"""The queue between the application and the exporter: bounded, counted, and emptied by one thread at the end."""

import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from instrumentation.tests import sink as s
from otel_ingest_instrumentation import loud, pace, process
from otel_ingest_instrumentation.queue import BatchQueue
from otel_ingest_instrumentation.settings import Settings


class Export:
    """Takes batches; the first one waits until it is let go."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.threads: set[str] = set()
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, batch: Sequence[Any]) -> None:
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        assert self.go.wait(20)
        self.taken += batch


def made(export: Export, **changes: int) -> tuple[BatchQueue, list[int]]:
    """Return a queue, and the counts of what it drops."""
    drops: list[int] = []
    sizes = {"size_max": 1_000, "batch_max": 10} | changes
    return BatchQueue(export, lambda count, _first, _last: drops.append(count), delay_s=0.01, **sizes), drops


def test_what_a_full_queue_does_not_take_is_counted() -> None:
    """And what it took is exported whole."""
    export = Export()
    queue, drops = made(export, size_max=50)
    queue.emit(0)
    assert export.begun.wait(20)
    for i in range(1, 101):
        queue.emit(i)
    assert queue.held() == 51
    export.go.set()
    s.wait_for(lambda: drops)

    assert drops == [50]
    assert export.taken == list(range(51))
    queue.shutdown()


def test_the_thread_that_ends_the_process_empties_the_queue() -> None:
    """The exporting thread ends with what it has in hand; nothing is taken twice or left."""
    export = Export()
    queue, drops = made(export)
    queue.emit(0)
    assert export.begun.wait(20)
    for i in range(1, 101):
        queue.emit(i)
    queue.leave()
    export.go.set()
    queue.drain()
    queue.settle(20)

    assert sorted(export.taken) == list(range(101))
    assert queue.held() == 0
    assert queue.empty()
    assert not drops


def test_records_that_the_end_has_no_time_for_are_said(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with their number, whatever they wait for."""
    export = Export()
    queue, _ = made(export)
    monkeypatch.setattr(loud, "_last", {})
    monkeypatch.setattr(process, "_queues", [queue])
    monkeypatch.setattr(process, "_leaving_since", None)
    monkeypatch.setattr(process, "_GRACE_S", 0.1)
    monkeypatch.setattr(process, "_settings", Settings(service="shop", exit_s=0.1))
    monkeypatch.setattr(process, "_delivery", Idle())
    queue.emit(0)
    assert export.begun.wait(20)
    for i in range(1, 25):
        queue.emit(i)
    process.leave()

    assert "the process ends, and 25 records could be neither sent nor kept in time" in capfd.readouterr().err
    export.go.set()
    s.wait_for(queue.empty)


class Idle:
    """A delivery that has nothing."""

    def idle(self) -> bool:
        """Say so."""
        return True

    def leave_by(self, _budget_s: float) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def test_only_the_exporting_thread_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller of force_flush, and the end of a process, never do; the exporting thread does, unless much waits."""
    paused: list[float] = []
    monkeypatch.setattr(pace, "time", SimpleNamespace(sleep=paused.append, perf_counter=time.perf_counter))
    monkeypatch.setattr(pace, "SLICE_S", 0.0)
    pace.step()
    pace.begin(gentle=False)
    pace.step()
    assert not paused
    pace.begin(gentle=True)
    pace.step()
    pace.begin(gentle=False)
    assert len(paused) == 1
