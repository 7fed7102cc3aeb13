"""PURE: one call of ``RowSink.write`` while it is done: which rows are to be stored, and what becomes of each batch."""

from collections.abc import Iterable, Mapping, Sequence

from storage.api import Outcome
from storage.batch import Batch, RejectedRecord, RejectedRow
from storage.counts import Counts, add, take_encoded
from storage.digests import Claimed, Earlier
from storage.errors import RetryableStoreError
from storage.keys import RequestKey
from storage.transactions import xmin_of

Place = tuple[int, int]
"""A row's place: batch, index in the batch."""
Parts = dict[int, Sequence[int]]
"""Rows of several batches: of each batch which, in order."""


def places_of(parts: Parts) -> list[Place]:
    """Return the rows one by one."""
    return [(b, i) for b, which in parts.items() for i in which]


def parts_of(places: Iterable[Place]) -> Parts:
    """Return the rows by batch."""
    parts: dict[int, list[int]] = {}
    for b, i in places:
        parts.setdefault(b, []).append(i)
    return {**parts}


class Work:
    """The batches of one call.

    ``parts``: the rows to store, of each batch which. A transaction may be tried more than once: ``begin`` forgets what
    the one before found out. Then come ``spooled``, for the batches of spools, and ``claimed``, for the keys that
    ``keys`` returns.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self._early: dict[int, list[RejectedRow]] = {}
        self._rejected: dict[int, list[RejectedRow]] = {}
        self._settled: dict[int, Outcome] = {}
        self._own: set[int] = set()
        self._busy: set[int] = set()
        self._reused: dict[int, tuple[RejectedRow, ...]] = {}
        self._first: dict[RequestKey, int] = {}
        self._repeats: dict[int, int] = {}
        digests: dict[tuple[bytes, bool], int] = {}
        for b, batch in enumerate(batches):
            if batch.key is None:
                continue
            first = digests.setdefault((batch.key.digest, batch.key.named), b)
            if first == b:
                self._first[batch.key] = b
            else:
                self._repeats[b] = first
        self._all: Parts = {
            b: range(len(batch.rows)) for b, batch in enumerate(batches) if b not in self._repeats and batch.rows
        }
        self.parts = self._all

    def begin(self) -> None:
        """Begin a transaction: all rows but those refused early are to be stored."""
        self.parts = self._all
        self._settled, self._own = {}, set()
        repeats = ((self.batches[b], b, first) for b, first in self._repeats.items())
        self._reused = {b: _other_body(a, 0).rejected for a, b, first in repeats if a.key != self.batches[first].key}
        self._rejected = {b: list(rows) for b, rows in self._early.items()}

    def keys(self) -> list[RequestKey]:
        """Return what to claim: one key a request, however often the request is among the batches."""
        return [key for key, b in self._first.items() if b not in self._settled]

    def spool_places(self) -> dict[tuple[bytes, int], int]:
        """Return {place in a spool: batch}."""
        return {
            batch.place: b
            for b, batch in enumerate(self.batches)
            if batch.place is not None and self._repeats.get(b, b) not in self._busy
        }

    def spooled(self, taken: Mapping[tuple[bytes, int], float]) -> None:
        """Take out the rows of requests that were stored from the same place of a spool, so many seconds ago."""
        of = self.spool_places()
        self._settled |= {of[place]: Outcome(duplicate_age_s=age_s) for place, age_s in taken.items()}

    def refuse_early(self, rows: Iterable[tuple[Place, str]]) -> None:
        """Refuse rows that no transaction will be asked to store."""
        gone: set[Place] = set()
        for (b, i), reason in rows:
            gone.add((b, i))
            self._early.setdefault(b, []).append(RejectedRow(i, reason))
        self._all = self.parts = parts_of(place for place in places_of(self._all) if place not in gone)

    def leave_out(self, busy: Iterable[RequestKey]) -> None:
        """Leave out requests that another transaction is storing."""
        for key in busy:
            self._busy.add(self._first.pop(key))
        self._all = self.parts = {b: which for b, which in self._all.items() if b not in self._busy}

    def refuse(self, rows: Iterable[tuple[Place, str]]) -> None:
        """Note rows that PostgreSQL refused in this transaction."""
        for (b, i), reason in rows:
            self._rejected.setdefault(b, []).append(RejectedRow(i, reason))

    def claimed(self, claimed: Claimed) -> None:
        """Take out the rows of requests that are stored already."""
        for key, earlier in claimed.taken.items():
            b = self._first[key]
            attempt = _own_attempt(self.batches[b], earlier)
            if attempt is not None:
                self._own.add(b)
                self._settled[b] = Outcome(tuple(attempt))
            elif earlier.content != key.content:
                self._settled[b] = _other_body(self.batches[b], earlier.age_s)
                self._reused[b] = self._settled[b].rejected
            else:
                self._settled[b] = Outcome(duplicate_age_s=earlier.age_s, rejected_before=earlier.rejected)
        if self._settled:
            self.parts = {b: which for b, which in self.parts.items() if b not in self._settled}

    def rejected_by_key(self) -> dict[RequestKey, int]:
        """Return how many rows were refused of requests that are stored in this transaction, where there are any."""
        return {
            key: len(rows)
            for key, b in self._first.items()
            if b not in self._settled and (rows := self._rejected.get(b))
        }

    @property
    def has_rejected(self) -> bool:
        """Whether any record is rejected, early or in this transaction."""
        return bool(self._early or self._rejected or self._reused) or any(b.rejected_early for b in self.batches)

    def describe_rejected(self) -> list[tuple[RejectedRecord, bytes | None]]:
        """Return the rejected records of requests that were not stored before, with the digests; may take long."""
        found: list[tuple[RejectedRecord, bytes | None]] = []
        for b, batch in enumerate(self.batches):
            rows = [*self._reused.get(b, ()), *self._rejected.get(b, ())]
            known = b not in self._reused and (b in self._settled or b in self._repeats or b in self._busy)
            if batch.describe is not None and not known and (rows or batch.rejected_early):
                digest = batch.key.digest if batch.key is not None else None
                found += [(record, digest) for record in batch.describe(rows)]
        return found

    def counts(self) -> Counts:
        """Return how many rows of each kind this transaction stores; called once they are stored, before COMMIT."""
        stored: Counts = {}
        for b, batch in enumerate(self.batches):
            if b in self._repeats or b in self._settled or b in self._busy:
                continue
            add(stored, batch.counts)
            for row in self._rejected.get(b, ()):
                take_encoded(stored, batch.table, batch.rows[row.index])
        return stored

    def committing(self, transaction: str) -> None:
        """Note on the batches which transaction is about to store them, so that the next attempt knows its own.

        Raises RetryableStoreError for a batch that was abandoned: nothing is committed. COMMIT follows without a pause,
        so who abandons a batch finds the transaction noted, or it is never committed.
        """
        if any(batch.abandoned for batch in self.batches):
            raise RetryableStoreError("it took so long that the caller keeps the request elsewhere")
        for b, batch in enumerate(self.batches):
            if batch.key in self._first and transaction and b not in self._settled:
                batch.attempts[transaction] = self._rejected.get(b, [])

    def outcomes(self) -> list[Outcome]:
        """Return what became of each batch, after COMMIT."""
        found = []
        for b, batch in enumerate(self.batches):
            if self._repeats.get(b, b) in self._busy:
                found.append(Outcome(busy=True))
            elif b in self._settled:
                found.append(self._settled[b])
            elif b in self._repeats:
                found.append(self._repeat(batch, self._repeats[b]))
            else:
                found.append(Outcome(tuple(self._rejected.get(b, ()))))
        return found

    def _repeat(self, batch: Batch, first: int) -> Outcome:
        """Return the outcome of a batch whose request is there twice in this call."""
        if batch.key != self.batches[first].key:
            return _other_body(batch, 0.0)
        if first in self._settled and first not in self._own:
            return self._settled[first]
        rejected = self._settled[first].rejected if first in self._own else self._rejected.get(first, ())
        return Outcome(duplicate_age_s=0.0, rejected_before=len(rejected))


def _own_attempt(batch: Batch, earlier: Earlier) -> list[RejectedRow] | None:
    """Return the rows refused by the attempt of ours that took the key; None when it was not ours."""
    for transaction, rejected in batch.attempts.items():
        if xmin_of(transaction) == earlier.xmin:
            return rejected
    return None


def _other_body(batch: Batch, age_s: float) -> Outcome:
    """Return the rejection of all rows of a batch whose name was used for another body."""
    reason = (
        f"its x-otel-ingest-batch-id was used {age_s:.0f} s ago for a request of another content; nothing is stored"
    )
    return Outcome(tuple(RejectedRow(i, reason) for i in range(len(batch.rows))))
