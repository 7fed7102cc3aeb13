"""The drain and the batcher around an outage, without PostgreSQL: who waits, what is tried again or set aside."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from otel_ingest import batcher as batching
from otel_ingest.batcher import Batcher
from otel_ingest.errors import MalformedRequest, StoreAway, StoreUnavailable
from otel_ingest.spool import segments
from otel_ingest.spool.drain import Drain, DrainTarget, Place
from otel_ingest.spool.format import SpooledRequest
from otel_ingest.spool.owner import SpoolOwnedError, own, own_first_free, own_leftovers
from otel_ingest.spool.spool import Spool
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from storage.errors import RetryableStoreError
from tests.factories import batch_of, log_row
from tests.rig import HeldSink


class Store:
    """What a drain puts requests into; ``refuses`` and ``never`` name requests by their time of receipt."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.places: list[Place] = []
        self.refuses: set[int] = set()
        self.never: set[int] = set()
        self.forgotten: list[bytes] = []
        self.lost: dict[str, int] = {}
        self.reachable = True

    async def replay(self, request: SpooledRequest, place: Place) -> None:
        """Store a request."""
        await asyncio.sleep(0)
        if request.received_ns in self.refuses or not self.reachable:
            raise StoreUnavailable("not now")
        if request.received_ns in self.never:
            raise MalformedRequest("never")
        self.stored.append(request.received_ns)
        self.places.append(place)

    def lose(self, signal: str, records: int) -> None:
        """Count what is lost."""
        self.lost[signal] = self.lost.get(signal, 0) + records

    async def forget(self, segment: bytes) -> None:
        """Note that a segment is gone."""
        self.forgotten.append(segment)

    async def probe(self) -> None:
        """Answer whether writes are taken."""
        if not self.reachable:
            raise RetryableStoreError("away")

    def target(self) -> DrainTarget:
        """Return what the drain calls."""
        return DrainTarget(self.replay, self.lose, self.forget, self.probe)


def request(number: int) -> SpooledRequest:
    """Return a request of three records."""
    return SpooledRequest("logs", "application/json", number, 3, os.urandom(50))


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """Yield a spool that is open."""
    spool = Spool(own_first_free(tmp_path), bytes_max=1 << 30)
    await spool.open()
    yield spool
    await spool.close()


async def fill(spool: Spool, *numbers: int) -> None:
    """Append requests, one after the other."""
    for number in numbers:
        await spool.append(request(number))


async def test_it_drains_in_order_and_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several segments: all come, in order; files are removed, then their places are forgotten."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1_000)
    store = Store()
    await fill(spool, *range(1, 31))

    assert await Drain([spool], store.target(), StoreState()).once()

    assert store.stored == list(range(1, 31))
    assert len(set(store.places)) == 30
    assert store.forgotten == list(dict.fromkeys(segment for segment, _ in store.places))
    assert not list(spool.path.glob("*.spool"))
    assert (spool.contents.requests, spool.filled, store.lost) == (0, False, {})


async def test_while_it_is_away_nothing_is_taken_out(spool: Spool) -> None:
    """The probe fails: nothing is tried. It is back: all is drained and the state says so."""
    store, state = Store(), StoreState()
    await fill(spool, 1, 2)
    store.reachable = False
    state.away("test")
    drain = Drain([spool], store.target(), state)

    assert not await drain.once()
    assert (store.stored, state.is_away) == ([], True)

    store.reachable = True
    assert await drain.once()
    assert (store.stored, state.is_away) == ([1, 2], False)


async def test_one_that_is_refused_again_and_again_does_not_stop_the_others(spool: Spool) -> None:
    """It stays in the spool and is tried in each turn; what is behind it is stored."""
    store = Store()
    store.refuses = {2}
    await fill(spool, 1, 2, 3, 4)
    drain = Drain([spool], store.target(), StoreState())
    for _ in range(6):
        assert not await drain.once()

    assert sorted(store.stored) == [1, 3, 4]
    assert spool.contents.requests == 1

    store.refuses = set()
    for _ in range(20):
        if await drain.once():
            break
    assert sorted(store.stored) == [1, 2, 3, 4]


async def test_one_that_can_never_be_stored_is_set_aside(spool: Spool) -> None:
    """Its bytes are kept in a file beside, its records count as lost, the others are stored."""
    store = Store()
    store.never = {2}
    await fill(spool, 1, 2, 3)

    assert await Drain([spool], store.target(), StoreState()).once()

    assert store.stored == [1, 3]
    assert store.lost == {"logs": 3}
    assert len(list(spool.path.glob("*.damaged"))) == 1
    assert spool.set_aside_bytes > 0


async def test_a_damaged_request_is_set_aside_and_counted(tmp_path: Path) -> None:
    """A byte of a sealed segment flips on the disk: the others are stored, three records are counted as lost."""
    spool = Spool(own(tmp_path / "0"), bytes_max=1 << 30)
    await spool.open()
    marked = SpooledRequest("logs", "application/json", 2, 3, b"find me")
    for one in (request(1), marked, request(3)):
        await spool.append(one)
    await spool.close()
    (file,) = (tmp_path / "0").glob("*.spool")
    file.write_bytes(file.read_bytes().replace(b"find me", b"fond me"))
    store, spool = Store(), Spool(own(tmp_path / "0"), bytes_max=1 << 30)
    found = await spool.open()

    assert found.requests == 3
    assert await Drain([spool], store.target(), StoreState()).once()
    assert (store.stored, store.lost) == ([1, 3], {"logs": 3})
    (aside,) = spool.path.glob("*.damaged")
    assert b"fond me" in aside.read_bytes()
    await spool.close()


async def test_many_requests_share_an_fsync(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits while one fsync is under way goes with the next, all of it."""
    synced: list[int] = []
    disk = spool._log._disk
    real = disk.sync
    monkeypatch.setattr(disk, "sync", lambda handle: (synced.append(handle), real(handle))[1])

    await asyncio.gather(*(spool.append(request(n)) for n in range(200)))

    assert spool.contents.requests == 200
    assert len(synced) < 20


async def test_directories_have_one_owner(tmp_path: Path) -> None:
    """Two receivers below one data directory have a spool each; what one left is found by the other."""
    first, second = own_first_free(tmp_path), own_first_free(tmp_path)
    assert (first.path.name, second.path.name) == ("0", "1")
    with pytest.raises(SpoolOwnedError):
        own(first.path)
    spool = Spool(first, bytes_max=1 << 30)
    await spool.open()
    await fill(spool, 1)
    assert own_leftovers(tmp_path) == []
    await spool.close()

    (leftover,) = own_leftovers(tmp_path)
    assert leftover.path == first.path
    leftover.release()
    second.release()


def batcher_on(sink: HeldSink, state: StoreState) -> Batcher:
    """Return a batcher with a spool behind it."""
    stats = ReceiverStats(CollectorRegistry())
    return Batcher(sink, stats, writers=1, queue_bytes_max=1 << 30, state=state, spooled=True)


async def test_nobody_waits_for_a_store_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """No commit for a while: who waits is given up, and not committed any more; who comes later goes at once."""
    monkeypatch.setattr(batching, "PATIENCE_S", 0.3)
    sink, state = HeldSink(), StoreState()
    batcher = batcher_on(sink, state)
    batcher.start()
    stuck, queued = batch_of([log_row()]), batch_of([log_row()])
    answers = await asyncio.wait_for(
        asyncio.gather(batcher.submit(stuck), batcher.submit(queued), return_exceptions=True), 20
    )
    assert [type(answer) for answer in answers] == [StoreAway, StoreAway]
    assert stuck.abandoned
    assert state.is_away

    with pytest.raises(StoreAway):
        await asyncio.wait_for(batcher.submit(batch_of([log_row()])), 1)

    replayed = batch_of([log_row()])
    replayed.place = (bytes(16), 0)
    waiting = asyncio.create_task(batcher.submit(replayed))
    await asyncio.sleep(0)
    sink.gate.set()
    await asyncio.wait_for(waiting, 20)
    assert not state.is_away
    await batcher.close(5)


async def test_without_a_spool_the_sender_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nowhere else to go: a slow commit is waited for."""
    monkeypatch.setattr(batching, "PATIENCE_S", 0.1)
    sink = HeldSink()
    batcher = Batcher(sink, ReceiverStats(CollectorRegistry()), writers=1, queue_bytes_max=1 << 30)
    batcher.start()
    waiting = asyncio.create_task(batcher.submit(batch_of([log_row()])))
    await asyncio.wait_for(sink.entered.wait(), 5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.5)
    sink.gate.set()
    await asyncio.wait_for(waiting, 5)
    await batcher.close(5)


async def test_at_the_deadline_of_a_stop_who_waits_is_given_up() -> None:
    """The server stops while PostgreSQL is stuck: what is queued and under way goes to the spool."""
    sink = HeldSink()
    batcher = batcher_on(sink, StoreState())
    batcher.start()
    first = asyncio.create_task(batcher.submit(batch_of([log_row()])))
    await asyncio.wait_for(sink.entered.wait(), 5)
    second = asyncio.create_task(batcher.submit(batch_of([log_row()])))
    await asyncio.sleep(0)

    await batcher.close(0.1)

    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreAway, StoreAway]
