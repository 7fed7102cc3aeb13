"""What is stored from now on, each record once: for the terminal's tail and for Loki's."""

import time
from collections.abc import Iterable
from dataclasses import replace

from storage.filters import LogQuery
from storage.reader import Reader
from storage.views import LogEntry

POLL_S = 0.5
"""Seconds between looks: within a second after it happened."""
# Ids are given out before COMMIT: this many below the highest seen may still become visible.
_OVERLAP_IDS = 2_000
_PAGE = 1_000
_WINDOW_NS = 3_600_000_000_000


class Follower:
    """Knows what was seen of the answers to a query, and finds what came since.

    A little is asked for again at each look, since ids are given out before COMMIT; what is known is dropped.
    """

    def __init__(self, reader: Reader, shown: Iterable[LogEntry] = ()) -> None:
        """``shown``: the latest records, which the caller has already."""
        self._reader = reader
        self._known = {entry.id for entry in shown}

    async def begin(self, query: LogQuery) -> None:
        """Take what is stored now as known: it was there before the following began. Raises StoreError."""
        await self.fresh(query)

    async def fresh(self, query: LogQuery) -> list[LogEntry]:
        """Return what matches and is not known, in the order of storing; of the last hour. Raises StoreError."""
        recent = replace(query, limit=_PAGE, since_ns=time.time_ns() - _WINDOW_NS, until_ns=None, cursor=None)
        found: list[LogEntry] = []
        place = max(max(self._known, default=0) - _OVERLAP_IDS, 0)
        while True:  # one page may hold only what is known already
            page = await self._reader.tail_logs(recent, place)
            found += [entry for entry in page if entry.id not in self._known]
            if len(page) < _PAGE:
                break
            place = page[-1].id
        self._known |= {entry.id for entry in found}
        highest = max(self._known, default=0)
        self._known = {i for i in self._known if i > highest - 2 * _OVERLAP_IDS}
        return found
