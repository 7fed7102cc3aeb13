"""Step 4, one request: parse -> decode -> batch -> durable -> what to answer. Both transports call only this."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from otel_ingest import memory
from otel_ingest.budget import ROW_OVERHEAD_BYTES, Lease
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.errors import IngestError, MalformedRequest, StoreUnavailable, TransientError
from otel_ingest.limits import Rejection
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.redact import Found
from otel_ingest.rejects import attach
from otel_ingest.signals import BY_NAME, Signal
from otel_ingest.spool.format import SpooledRequest
from otel_ingest.stats import ReceiverStats
from otel_ingest.wire import Encoding
from otel_ingest.wire.status import duplicate_message, rejection_message
from storage.api import Outcome
from storage.batch import Batch
from storage.keys import BATCH_ID_CHARS_MAX, RequestKey, request_key

_log = structlog.get_logger(__name__)

BATCH_ID_HEADER = "x-otel-ingest-batch-id"
"""HTTP header and gRPC metadata: what the sender itself calls this request; sent again, it is stored once."""

# Hashing takes 0.7 ms a MiB; more than this is done beside the event loop, where it costs a thread's switch.
_HASH_HERE_BYTES = 1024 * 1024
# Rows of large bodies lie among others in the heap; some seconds later they are gone.
_TRIM_BYTES = 64 * 1024
_TRIM_AFTER_S = 3.0
# Components and rules that the log names, once each.
_TOLD_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What the sender is told: how many records were rejected, and one sentence (empty: all stored).

    ``component`` is the one that all of its records are of; None where there are several or none.
    """

    rejected: int = 0
    message: str = ""
    component: str | None = None


class Ingest:
    """Takes requests of any signal."""

    def __init__(
        self,
        durable: Durable,
        decoder: Decoder,
        rates: ComponentRates,
        stats: ReceiverStats,
        clock_ns: Callable[[], int],
    ) -> None:
        self._durable = durable
        self._decoder = decoder
        self._rates = rates
        self._trim: asyncio.TimerHandle | None = None
        self._stats = stats
        self._clock_ns = clock_ns
        self._told: set[tuple[str, str]] = set()

    async def export(
        self, signal: Signal, body: bytes, encoding: Encoding, transport: str, lease: Lease, batch_id: str = ""
    ) -> ExportResult:
        """Return once every record that is not rejected is committed, now or by the same request before, or spooled.

        Not to be cancelled because a sender goes away: what it had sent is committed, and counted as such.
        ``lease`` holds what ``body`` weighs; it is given back at the end.
        ``batch_id``: what the sender calls the request (``BATCH_ID_HEADER``); empty: it is known by its content.

        Raises MalformedRequest: nothing of it could be read. Raises TransientError: nothing of it was stored.
        """
        try:
            result = await self._export(signal, body, encoding, transport, lease, batch_id)
        except TransientError:
            self._stats.request(signal, transport, "refused")
            raise
        except IngestError:
            self._stats.request(signal, transport, "failed")
            raise
        except Exception as error:
            raise self.unexpected(signal, transport, error) from error
        finally:
            lease.release()
            if len(body) > _TRIM_BYTES and self._trim is None:
                # After this task, whose rows are still here.
                self._trim = asyncio.get_running_loop().call_later(_TRIM_AFTER_S, self._trim_memory)
        self._stats.request(signal, transport, "partial" if result.rejected else "accepted")
        return result

    def unexpected(self, signal: Signal | None, transport: str, error: Exception) -> StoreUnavailable:
        """Return what to answer to an error nobody foresaw, counted: its sender keeps its data and tries again."""
        self._stats.bugs.inc()
        if signal is not None:
            self._stats.request(signal, transport, "refused")
        _log.error("unexpected error in an export", transport=transport, exc_info=error)
        return StoreUnavailable("an unexpected error in the server; nothing was stored")

    def _trim_memory(self) -> None:
        self._trim = None
        memory.trim()

    def turned_away(self, signal: Signal, transport: str, error: IngestError) -> None:
        """Count a request that was answered with ``error`` before it could be decoded."""
        self._stats.request(signal, transport, "refused" if isinstance(error, TransientError) else "failed")

    async def _export(
        self, signal: Signal, body: bytes, encoding: Encoding, transport: str, lease: Lease, batch_id: str
    ) -> ExportResult:
        key = await _key(signal, body, batch_id)
        received_ns = self._clock_ns()
        decoded = await self._decoder.decode(signal, body, encoding, received_ns)
        self._tell(signal, decoded.masked)
        batch, rejections = decoded.batch, decoded.rejections
        batch.key = key
        attach(batch, signal, body, encoding, decoded.positions, rejections, self._decoder.second_line)
        early = sum(r.count for r in rejections) if rejections else 0
        total = len(batch.rows) + early
        self._stats.received(signal, total)
        if not batch.rows:
            self._stats.settled(signal, transport, rejected=early)
            outcome = Outcome()
            if early:
                await self._durable.note(batch)
        else:
            spooled = partial(SpooledRequest, signal.name, encoding.value, received_ns, len(batch.rows), body, batch_id)
            try:
                self._rates.take(decoded.bytes_by_component, time.monotonic())
                lease.settle(len(body) + batch.size_bytes + ROW_OVERHEAD_BYTES * len(batch.rows))
                kept = await self._durable.keep(batch, spooled)
            except BaseException:
                self._stats.settled(signal, transport, rejected=early, refused=len(batch.rows))
                raise
            if kept is None:
                self._stats.settled(signal, transport, spooled=len(batch.rows), rejected=early)
                return _result(signal, batch, rejections, total, Outcome())
            outcome = kept
            rejections += [Rejection(decoded.positions[r.index], r.reason) for r in outcome.rejected]
            late = len(outcome.rejected)
            if outcome.duplicate_age_s is None:
                self._stats.settled(signal, transport, stored=len(batch.rows) - late, rejected=early + late)
            else:
                self._stats.settled(signal, transport, duplicate=len(batch.rows), rejected=early)
        return _result(signal, batch, rejections, total, outcome)

    async def replay(self, request: SpooledRequest, place: tuple[bytes, int]) -> None:
        """Store a request of the spool, once however often this is called with its place there.

        Raises MalformedRequest: it can never be stored. Raises TransientError: it can not be stored now.
        """
        signal, encoding = BY_NAME[request.signal], Encoding(request.encoding)
        decoded = await self._decoder.decode(signal, request.body, encoding, request.received_ns)
        self._tell(signal, decoded.masked)
        batch, rejections = decoded.batch, decoded.rejections
        batch.key = await _key(signal, request.body, request.batch_id)
        attach(batch, signal, request.body, encoding, decoded.positions, rejections, self._decoder.second_line)
        batch.place, batch.attempts = place, {transaction: [] for transaction in request.attempts}
        outcome = await self._durable.replay(batch) if batch.rows else Outcome()
        if len(batch.rows) < request.records or outcome.rejected:
            reason = outcome.rejected[0].reason if outcome.rejected else rejections[0].reason
            _log.warning("records of a spooled request were rejected", signal=signal.name, reason=reason)
        self._stats.drained(signal, request.records, len(batch.rows), outcome)

    def _tell(self, signal: Signal, masked: Found) -> None:
        """Count the secrets that were masked, and name component and rule in the log, once each."""
        for component, rules in masked.items():
            self._stats.redacted(signal, rules)
            news = {(component, rule) for rule in rules} - self._told
            if news and len(self._told) < _TOLD_MAX:
                self._told |= news
                _log.warning("masked secrets that a client let through", component=component, rules=sorted(rules))


async def _key(signal: Signal, body: bytes, batch_id: str) -> RequestKey:
    """Return the key of a request. Raises MalformedRequest for a batch id that is too long."""
    if len(batch_id) > BATCH_ID_CHARS_MAX:
        text = f"{BATCH_ID_HEADER} has {len(batch_id)} characters, the limit is {BATCH_ID_CHARS_MAX}"
        raise MalformedRequest(text, field=BATCH_ID_HEADER)
    if len(body) <= _HASH_HERE_BYTES:
        return request_key(signal.name, body, batch_id)
    return await asyncio.to_thread(request_key, signal.name, body, batch_id)


def _result(signal: Signal, batch: Batch, rejections: list[Rejection], total: int, outcome: Outcome) -> ExportResult:
    """Return what the sender is told: what is rejected, and whether the request was there before."""
    rejected = sum(r.count for r in rejections) + outcome.rejected_before
    sentences = []
    if rejections:
        rejections.sort(key=lambda r: r.index)
        sentences.append(rejection_message(signal, rejections, total))
    if outcome.duplicate_age_s is not None:
        sentences.append(duplicate_message(outcome.duplicate_age_s, outcome.rejected_before))
    return ExportResult(rejected, "; ".join(sentences), _only_component(batch))


def _only_component(batch: Batch) -> str | None:
    components = {resource.component for resource in batch.resources.values()}
    return components.pop() if len(components) == 1 else None
