"""The longest wait for a lock in one database, sampled while something else is done."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

# Between two looks; a wait shorter than this may be missed, one that is seen is told by PostgreSQL's own clock.
_EVERY_S = 0.003
_WAITS = """
SELECT a.application_name, a.query, extract(epoch FROM clock_timestamp() - l.waitstart) * 1000
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE NOT l.granted AND l.waitstart IS NOT NULL AND a.datname = current_database()
"""


@dataclass
class LockWaits:
    """Longest waits in ms: of upkeep itself (for transactions to end; nobody waits for it), and of all others."""

    upkeep_ms: float = 0.0
    others_ms: float = 0.0
    worst: str = ""
    samples: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def see(self, query: str, ms: float, upkeep: tuple[str, ...]) -> None:
        """Take one wait down."""
        if query.lstrip().upper().startswith(upkeep):
            self.upkeep_ms = max(self.upkeep_ms, ms)
        elif ms > self.others_ms:
            self.others_ms, self.worst = ms, " ".join(query.split())[:90]


@contextmanager
def sampled(url: str, upkeep: tuple[str, ...]) -> Iterator[LockWaits]:
    """Look for waits of any session while the block runs; ``upkeep``: how statements of upkeep itself begin."""
    waits = LockWaits()

    def look() -> None:
        with psycopg.connect(url, autocommit=True, application_name="sampler") as connection:
            while not waits._stop.is_set():  # noqa: SLF001
                for _, query, ms in connection.execute(_WAITS):
                    waits.see(query, float(ms), upkeep)
                waits.samples += 1
                time.sleep(_EVERY_S)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield waits
    finally:
        waits._stop.set()  # noqa: SLF001
        thread.join()
