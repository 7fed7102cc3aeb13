"""What the batcher takes for a proof that PostgreSQL is there (a COMMIT, nothing else), and who is cancelled."""

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from otel_ingest import batcher as batcher_module
from otel_ingest.batcher import Batcher
from otel_ingest.errors import StoreAway
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from storage.api import Outcome
from storage.batch import Batch
from storage.errors import RetryableStoreError
from tests.factories import batch_of, log_row
from tests.rig import MIB, HeldSink


class StuckSink:
    """Neither commits nor fails until ``broken`` is set; then it fails."""

    def __init__(self) -> None:
        self.broken = asyncio.Event()
        self.failed = asyncio.Event()

    async def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """See ``RowSink.write``."""
        assert batches
        await self.broken.wait()
        self.failed.set()
        raise RetryableStoreError("timeout expired")


async def test_who_is_cancelled_takes_only_its_own_answer_along() -> None:
    """One task is cancelled in the middle of its transaction and one in the queue: all rows are committed, and told."""
    sink, stats = HeldSink(), ReceiverStats(CollectorRegistry())
    batcher = Batcher(sink, stats, writers=1, queue_bytes_max=MIB)
    batcher.start()
    async with asyncio.timeout(20):
        first = asyncio.create_task(batcher.submit(batch_of([log_row()])))
        await sink.entered.wait()
        queued = [asyncio.create_task(batcher.submit(batch_of([log_row()]))) for _ in range(3)]
        one_bytes = stats.queue_bytes
        while stats.queue_bytes < 4 * one_bytes:  # noqa: ASYNC110 - they are put into the queue
            await asyncio.sleep(0)
        first.cancel()
        queued[0].cancel()
        answers = asyncio.gather(first, *queued, return_exceptions=True)
        sink.gate.set()
        await batcher.close(5.0)

        assert [type(answer) for answer in await answers] == [asyncio.CancelledError] * 2 + [Outcome] * 2
        assert (sink.rows, stats.queue_bytes) == (4, 0)


async def test_a_write_whose_requests_were_given_up_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that hangs, is given up, and fails at last: PostgreSQL is still away."""
    monkeypatch.setattr(batcher_module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(batcher_module, "_WATCH_EVERY_S", 0.01)
    sink, state = StuckSink(), StoreState()
    stats = ReceiverStats(CollectorRegistry())
    batcher = Batcher(sink, stats, writers=1, queue_bytes_max=MIB, state=state, spooled=True)
    batcher.start()
    async with asyncio.timeout(20):
        with pytest.raises(StoreAway):
            await batcher.submit(batch_of([log_row()]))
        assert state.is_away

        sink.broken.set()
        await sink.failed.wait()
        while stats.queue_bytes:  # noqa: ASYNC110 - the writer has put the failed write away
            await asyncio.sleep(0.005)

        assert state.is_away
        await batcher.close(1.0)
