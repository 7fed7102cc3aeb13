"""Whether PostgreSQL takes writes: said by those who write, asked by those who answer, spool, drain and report."""

import asyncio
import time

import structlog

_log = structlog.get_logger(__name__)


class StoreState:
    """One state for the whole receiver; it begins as taken to be there."""

    def __init__(self) -> None:
        self.away_since_s = 0.0
        """Seconds since 1970 at which it went away; 0 while it is there."""
        self.reason = ""
        self._back = asyncio.Event()
        self._back.set()
        self._gone = asyncio.Event()

    @property
    def is_away(self) -> bool:
        """Whether writes fail, as far as is known."""
        return bool(self.away_since_s)

    def away(self, reason: str) -> None:
        """Note that a write failed though it was tried for a while; ``reason`` is a sentence."""
        self.reason = reason
        if not self.is_away:
            self.away_since_s = time.time()
            self._back.clear()
            self._gone.set()
            _log.warning("PostgreSQL is away", reason=reason)

    def back(self) -> None:
        """Note that a write was committed, or would be."""
        if self.is_away:
            _log.info("PostgreSQL is back", away_s=round(time.time() - self.away_since_s, 1))
            self.away_since_s, self.reason = 0.0, ""
            self._gone.clear()
            self._back.set()

    async def until_back(self) -> None:
        """Wait until it is there."""
        await self._back.wait()

    async def until_away(self) -> None:
        """Wait until it is away."""
        await self._gone.wait()
