"""The two seams of the store; these docstrings are their specification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.batch import Batch, RejectedRow

__all__ = ["Outcome", "RejectedRow", "RowSink"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one batch.

    ``rejected``: the rows PostgreSQL refused (almost always none); every other row is committed and visible to readers.

    ``duplicate_age_s`` is not None: the same request was stored that many seconds ago (0 and more; 0 also when it came
    twice in one call), nothing of this batch was stored, and ``rejected`` is empty; ``rejected_before`` is how many
    rows PostgreSQL had refused of it then.

    ``busy``: nothing of this batch was stored, because another transaction is storing the same request and did not end
    in time; the caller may try again.
    """

    rejected: tuple[RejectedRow, ...] = ()
    duplicate_age_s: float | None = None
    rejected_before: int = 0
    busy: bool = False


class RowSink(Protocol):
    """Where batches become durable."""

    async def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Store all batches in one transaction, each request once; return after COMMIT.

        Returns one Outcome a batch, in order. Creates missing partitions first. All batches are of one table.

        Once: a batch whose ``key`` was stored within its window (``storage.config.Windows``), by whomever, is not
        stored again. Its key is committed with its rows, or not at all. A name (``RequestKey.named``) that was used for
        another body: all rows of the batch are rejected, for nothing may be acknowledged that is not stored.
        A batch that the caller's own earlier attempt turns out to have stored is not a duplicate: it has the outcome
        of that attempt. A batch whose ``place`` was stored before, at whatever time, is a duplicate.

        Raises RetryableStoreError: this call stored nothing; the caller may try again with the same batches, less those
        that were ``abandoned`` meanwhile. Who keeps them for longer keeps ``Batch.attempts`` with them.
        Raises OutcomeUnknown (a RetryableStoreError): the connection broke during COMMIT. ``write`` with the same
        batches, within their window, finds out and stores what is missing; later, ``storage.transactions.outcome_of``
        tells by ``OutcomeUnknown.transaction``.
        Raises PermanentStoreError: nothing was stored, and trying again will not help.
        """
        ...
