"""The two seams of the store; these docstrings are their specification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.batch import Batch


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A record PostgreSQL itself refused: its position in ``Batch.rows`` and why, in words for the sender."""

    index: int
    reason: str


class RowSink(Protocol):
    """Where batches become durable."""

    async def write(self, batches: Sequence[Batch]) -> list[list[RejectedRow]]:
        """Store all batches in one transaction; return after COMMIT.

        Returns one list a batch, in order: the rows PostgreSQL refused (almost always empty); every other row is
        committed and visible to readers. Creates missing partitions first. All batches are of one table.

        Raises RetryableStoreError: nothing of any batch was stored; the caller may try again.
        Raises PermanentStoreError: likewise, and trying again will not help.
        After a connection that broke during COMMIT the outcome is unknown; this is RetryableStoreError too.
        """
        ...
