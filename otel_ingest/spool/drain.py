"""Back from the spool into PostgreSQL: in order, a bounded share at a time, by itself.

Requests that arrive meanwhile go to PostgreSQL directly: OTLP promises no order between requests. While PostgreSQL is
away this asks whether it is back; a spooled request that is committed is the proof.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from otel_ingest.errors import IngestError, MalformedRequest
from otel_ingest.spool.format import Damage, Frame, SpooledRequest
from otel_ingest.spool.segments import Segment
from otel_ingest.spool.spool import Spool
from otel_ingest.store_state import StoreState
from storage.errors import StoreError

_log = structlog.get_logger(__name__)

# What is read, decoded and on its way to a COMMIT at once: enough for a group commit, little beside live requests.
_WINDOW_BYTES = 4 * 1024 * 1024
_WINDOW_REQUESTS = 64
# How soon a PostgreSQL that is back is found, at the cost of one connection attempt.
_PROBE_PAUSE_S = 0.5
_PROBE_TIMEOUT_S = 5.0
# How soon a spool that was added is looked at.
_LOOK_AGAIN_S = 5.0
_LOG_EVERY_S = 10.0

Place = tuple[bytes, int]
"""A request's place for good: the id of its segment, its offset there."""


@dataclass(frozen=True, slots=True)
class DrainTarget:
    """Where a drain puts what it reads.

    ``replay`` stores one request, once however often it is called with its place. Raises MalformedRequest: it can never
    be stored; any other error: not now. ``lost`` counts records that were damaged or can never be stored. ``forget`` is
    told that a segment is gone for good. ``probe`` raises StoreError while PostgreSQL does not take writes.
    """

    replay: Callable[[SpooledRequest, Place], Awaitable[None]]
    lost: Callable[[str, int], None]
    forget: Callable[[bytes], Awaitable[None]]
    probe: Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Pass:
    """One reading of a segment: what failed, and what is under way."""

    failed: str = ""
    skipped: bool = False
    under_way: dict[asyncio.Task[None], int] = field(default_factory=dict)


class Drain:
    """Empties ``spools``: its own first, then leftovers, which it gives up once they are empty; more may be added.

    ``run`` never returns by itself.
    """

    def __init__(self, spools: list[Spool], target: DrainTarget, state: StoreState) -> None:
        self._spools = spools
        self._target = target
        self._state = state
        self._settled: dict[bytes, set[int]] = {}
        self._tries: dict[Place, int] = {}
        self._patience = 0
        self.active = False
        """Whether requests are being replayed now."""
        self._done_requests = 0
        self._started_s = self._logged_s = 0.0

    async def run(self) -> None:
        """Probe while PostgreSQL is away, drain when it is there and there is something to drain."""
        while True:
            await self._something_to_do()
            try:
                await self.once()
            except OSError as error:
                _log.error("the spool cannot be read now", reason=str(error))
            if self._state.is_away or self.holds_any():
                await asyncio.sleep(_PROBE_PAUSE_S)

    async def once(self) -> bool:
        """Drain all there is, if PostgreSQL takes it; return whether nothing is left. Raises OSError."""
        if self._state.is_away and not await self._reachable():
            return False
        try:
            for spool in list(self._spools):
                if not await self._empty(spool):
                    return False
                if spool is not self._spools[0]:
                    self._spools.remove(spool)
                    await spool.close()
        finally:
            self._finished()
        self._state.back()
        return True

    def holds_any(self) -> bool:
        """Whether anything is at rest."""
        return any(spool.filled for spool in self._spools)

    async def _something_to_do(self) -> None:
        waits = [asyncio.create_task(s.until_filled()) for s in self._spools]
        waits.append(asyncio.create_task(self._state.until_away()))
        try:
            await asyncio.wait(waits, timeout=_LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _reachable(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self._target.probe()
        except TimeoutError:
            self._state.away("PostgreSQL does not answer")
        except StoreError as error:
            self._state.away(str(error))
        else:
            return True
        return False

    async def _empty(self, spool: Spool) -> bool:
        """Drain one spool; return whether all that it held is in PostgreSQL."""
        while spool.filled:
            self.active = True
            if not self._started_s:
                self._started_s = self._logged_s = time.monotonic()
            skipped = False
            for segment in await spool.closed_segments():
                reading = await self._segment(spool, segment)
                if reading.failed:
                    return False
                skipped |= reading.skipped
            if skipped:
                self._patience += 1
                return False
        return True

    async def _segment(self, spool: Spool, segment: Segment) -> _Pass:
        """Replay one segment, and remove it unless something failed or was skipped."""
        reading = _Pass()
        try:
            await self._replay_all(spool, segment, reading)
        except BaseException:
            # Whatever they come to: what was stored is known by its place when it is read again.
            for task in reading.under_way:
                task.cancel()
            raise
        if reading.under_way:
            await asyncio.wait(reading.under_way)
        if reading.failed or reading.skipped:
            return reading
        await spool.remove(segment)
        for signal, records in segment.contents.records.items():
            if records:
                self._target.lost(signal, records)
        self._settled.pop(segment.name.id, None)
        with contextlib.suppress(StoreError):  # what stays known for longer harms nobody
            await self._target.forget(segment.name.id)
        return reading

    async def _replay_all(self, spool: Spool, segment: Segment, reading: _Pass) -> None:
        """Begin to replay what is in a segment and not settled yet, until something fails."""
        settled = self._settled.setdefault(segment.name.id, set())
        async for item in spool.read(segment):
            if item.offset in settled:
                continue
            if isinstance(item, Damage):
                await self._damaged(spool, segment, item)
                settled.add(item.offset)
            elif self._tries.get((segment.name.id, item.offset), 0) > self._patience:
                # It failed though PostgreSQL answers: its turn comes again, what is behind it does not wait.
                reading.skipped = True
            else:
                await self._room_for(item, reading)
                if reading.failed:
                    return
                task = asyncio.create_task(self._one(spool, segment, item, reading))
                reading.under_way[task] = item.length

    async def _room_for(self, frame: Frame, reading: _Pass) -> None:
        """Wait until one more fits into the window; while PostgreSQL is away it is one at a time."""
        while reading.under_way:
            requests, size = len(reading.under_way), sum(reading.under_way.values())
            full = requests >= _WINDOW_REQUESTS or size + frame.length > _WINDOW_BYTES
            if not full and not self._state.is_away:
                return
            done, _ = await asyncio.wait(reading.under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del reading.under_way[task]

    async def _one(self, spool: Spool, segment: Segment, frame: Frame, reading: _Pass) -> None:
        """Replay one request and note what became of it."""
        place = (segment.name.id, frame.offset)
        try:
            await self._target.replay(frame.request, place)
            self._state.back()
        except MalformedRequest as error:
            try:
                await self._never(spool, segment, frame, str(error))
            except OSError as refused:
                reading.failed = f"it cannot be set aside: {refused}"
                return
        except Exception as error:  # noqa: BLE001 - it stays in the spool, whatever it was
            self._tries[place] = self._tries.get(place, 0) + 1
            reading.failed = str(error)
            if not isinstance(error, IngestError):
                _log.error("unexpected error while replaying", exc_info=error)
            return
        self._tries.pop(place, None)
        self._settled[segment.name.id].add(frame.offset)
        spool.settled(segment, frame.request)
        self._report(spool)

    async def _never(self, spool: Spool, segment: Segment, frame: Frame, why: str) -> None:
        """Set a request aside that can never be stored, and say so."""
        name = await spool.set_aside(segment, frame.offset, frame.length)
        self._target.lost(frame.request.signal, frame.request.records)
        _log.error("a spooled request cannot be stored", reason=why, records=frame.request.records, set_aside=name)

    async def _damaged(self, spool: Spool, segment: Segment, damage: Damage) -> None:
        """Set bytes aside that are no request, and say so."""
        name = await spool.set_aside(segment, damage.offset, damage.length)
        if damage.at_end and not segment.sealed:
            what = "the last write to the spool was cut off; it was not acknowledged, unless the disk lost it since"
            _log.warning(what, bytes=damage.length, set_aside=name)
        else:
            _log.error("the spool is damaged; what follows is replayed", bytes=damage.length, set_aside=name)

    def _report(self, spool: Spool) -> None:
        """Count, and say now and then how far it is."""
        self._done_requests += 1
        now = time.monotonic()
        if now - self._logged_s > _LOG_EVERY_S:
            self._logged_s = now
            left = spool.contents
            seconds = now - self._started_s
            rate = round(self._done_requests / seconds) if seconds else 0
            _log.info(
                "draining the spool",
                requests_left=left.requests,
                records_left=sum(left.records.values()),
                requests_per_s=rate,
            )

    def _finished(self) -> None:
        """Say that it is empty, once."""
        if self.active and not self.holds_any():
            seconds = round(time.monotonic() - self._started_s, 1)
            _log.info("the spool is drained", requests=self._done_requests, seconds=seconds)
        self.active = False
        if not self.holds_any():
            self._done_requests, self._started_s, self._tries, self._patience = 0, 0.0, {}, 0
