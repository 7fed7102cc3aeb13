"""Step 5, where a request becomes durable: committed, or in the spool while PostgreSQL is away."""

import contextlib
from collections.abc import Awaitable, Callable

from otel_ingest.batcher import Batcher
from otel_ingest.errors import StoreAway, StoreUnavailable, TransientError
from otel_ingest.spool.format import SpooledRequest
from otel_ingest.spool.spool import Spool
from storage.api import Outcome
from storage.batch import Batch
from storage.errors import StoreError

OutcomeOf = Callable[[str], Awaitable[str]]
"""Tells what became of a transaction, in the words of ``storage.transactions.outcome_of``; raises StoreError."""


class Durable:
    """Puts requests into the batcher, or into the spool where there is one and the batcher says that it must be."""

    def __init__(self, batcher: Batcher, spool: Spool | None = None, outcome_of: OutcomeOf | None = None) -> None:
        self._batcher = batcher
        self._outcome_of = outcome_of
        self._spool = spool

    async def keep(self, batch: Batch, request: Callable[[tuple[str, ...]], SpooledRequest]) -> Outcome | None:
        """Return what became of the batch after COMMIT, or None once its request is on the disk.

        ``request`` makes the request to spool from the transactions that may have stored it.
        Raises StoreUnavailable: it is neither here nor there.
        """
        if self._spool is None:
            return await self._batcher.submit(batch)
        try:
            return await self._batcher.submit(batch)
        except StoreAway:
            await self._spool.append(request(tuple(batch.attempts)))
            return None

    async def note(self, batch: Batch) -> None:
        """Have the records of a request kept of which none became a row; a courtesy, not done while it cannot be."""
        with contextlib.suppress(TransientError):
            await self._batcher.submit(batch)

    async def replay(self, batch: Batch) -> Outcome:
        """Return what became of a batch that comes from a spool (``batch.place`` is set). Raises StoreUnavailable.

        Transactions that were committing it when PostgreSQL went away are asked for first, however long ago that was.
        """
        try:
            ask = self._outcome_of
            found = {await ask(transaction) for transaction in batch.attempts} if ask is not None else set()
        except StoreError as error:
            raise StoreAway(f"not stored: {error}") from error
        if "committed" in found:
            return Outcome()
        if "in progress" in found:
            raise StoreUnavailable("a transaction that may have stored it has not ended yet")
        return await self._batcher.submit(batch)
