"""Once: the key of a request is claimed in the transaction of its rows, and is unique while its window lasts.

Each kind of key (unnamed, named) has a ring of three tables, and a period of time fills one of them; which one is told
by PostgreSQL's own clock, the start of the transaction. During the first window of a period a key is claimed in the
table of the period before as well. So two transactions within one window of each other always claim in one common
table, and its unique index makes the second wait for the first: it is a duplicate when that commits, and stores when
that aborts. Nothing depends on how long transactions take. Tables that are not claimed in are emptied (TRUNCATE).

Claims are made in one order (table, then digest), before anything else is locked: writers never wait in a circle.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from psycopg import errors as pg
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import lock_keys, writing
from storage.config import Windows
from storage.dberrors import translate
from storage.errors import RetryableStoreError
from storage.keys import RequestKey

TABLES_A_RING = 3
_US = 1_000_000
_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")
# A transaction that began periods ago may hold the table; those who would wait behind us for it are as old.
_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '1s'")
# Who claimed a key and ends this soon is not busy; one that does not is asked for once more for each half.
_SHORT_TIMEOUT = text("SET LOCAL lock_timeout = '50ms'")


@dataclass(frozen=True, slots=True)
class Ring:
    """One kind of key: its tables are ``{name}_0`` to ``{name}_2``."""

    name: str
    window_us: int
    period_us: int
    has_content: bool

    def table(self, period: int) -> str:
        """Return the table of a period, counted since 1970."""
        return f"{self.name}_{period % TABLES_A_RING}"

    def phase(self, at_us: int) -> "Phase":
        """Return what a transaction that began at ``at_us`` claims in."""
        period, into = divmod(at_us, self.period_us)
        begin = at_us - into
        if into < self.window_us:
            return Phase(begin, begin + self.window_us, (self.table(period - 1), self.table(period)))
        return Phase(begin + self.window_us, begin + self.period_us, (self.table(period),))

    def unused(self, at_us: int) -> list[str]:
        """Return the tables that a transaction does not claim in that begins at ``at_us``."""
        return [t for t in (self.table(period) for period in range(TABLES_A_RING)) if t not in self.phase(at_us).tables]


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time (microseconds since 1970, ``until_us`` excluded) and the tables to claim in, in order."""

    since_us: int
    until_us: int
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """The request that has a key already: seconds ago, its content, rows refused then, xmin of its transaction."""

    age_s: float
    content: bytes
    rejected: int
    xmin: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The transaction's number and begin, and the keys that were taken, with who took them; all others are ours now."""

    xid: int
    at_us: int
    taken: Mapping[RequestKey, Earlier]


def rings(windows: Windows) -> tuple[Ring, Ring]:
    """Return the ring of unnamed keys and the ring of named ones."""
    return (
        _ring("request_digests", windows.unnamed_s, windows.unnamed_period_s, has_content=False),
        _ring("batch_id_digests", windows.named_s, windows.named_period_s, has_content=True),
    )


def _ring(name: str, window_s: float, period_s: float, *, has_content: bool) -> Ring:
    return Ring(name, round(min(window_s, period_s) * _US), round(period_s * _US), has_content)


@cache
def _claim_in(ring: Ring, tables: tuple[str, ...]) -> bytes:
    """Return the claim in the tables of a phase; it claims nothing when the transaction began outside of the phase.

    A row that is past the window (its table was not emptied yet) is as good as none. What is claimed in the first table
    is claimed in the second, in the order of digests once more. What comes back is one row, whatever happened: the
    clock, the number of the transaction, and how many were claimed in each table.
    """
    more, array, update = ("", "", "")
    if ring.has_content:
        more, array, update = ", content", ", CAST($5 AS uuid[])", "content = excluded.content, "
    source = f"""unnest(CAST($1 AS uuid[]){array}) AS u (digest{more})
  WHERE CAST(extract(epoch FROM now()) * 1000000 AS bigint) BETWEEN CAST($2 AS bigint) AND CAST($3 AS bigint)"""
    claims = []
    for n, table in enumerate(tables):
        claims.append(f"""claimed_{n} AS (
  INSERT INTO {table} AS d (digest{more}, time, rejected) SELECT digest{more}, now(), 0 FROM {source}
  ON CONFLICT (digest) DO UPDATE SET {update}time = excluded.time, rejected = 0
    WHERE d.time <= now() - make_interval(secs => CAST($4 AS double precision))
  RETURNING digest{more})""")  # noqa: S608 - the name of a table of ours
        source = f"claimed_{n} ORDER BY digest"
    counts = ", ".join(f"(SELECT count(*) FROM claimed_{n})" for n in range(len(tables)))  # noqa: S608
    return f"""WITH {", ".join(claims)}
SELECT CAST(extract(epoch FROM now()) * 1000000 AS bigint), CAST(CAST(pg_current_xact_id() AS text) AS bigint), {counts}
""".encode()  # noqa: S608


@cache
def _taken_in(ring: Ring, table: str) -> TextClause:
    """Return the question for those of the keys that others have taken: their rows are not of this transaction."""
    return text(f"""
SELECT digest, {"content" if ring.has_content else "digest"} AS content, rejected,
       CAST(CAST(xmin AS text) AS bigint) AS xmin,
       CAST(extract(epoch FROM now() - time) AS double precision) AS age_s
FROM {table} WHERE digest = ANY(CAST(:digests AS uuid[])) AND xmin <> CAST(pg_current_xact_id() AS xid)
""")  # noqa: S608


def _note_in(table: str) -> TextClause:
    return text(f"UPDATE {table} SET rejected = :rejected WHERE digest = CAST(:digest AS uuid)")  # noqa: S608


class KeysBusyError(Exception):
    """Another transaction that claimed one of the keys did not end in time."""


class Digests:
    """Claims keys; remembers only how PostgreSQL's clock differs from ours, to name the right tables at first."""

    def __init__(self, windows: Windows) -> None:
        self._rings = rings(windows)
        self._ahead_us = 0

    async def claim(self, connection: AsyncConnection, keys: Iterable[RequestKey]) -> Claimed:
        """Claim keys of different digests in the transaction of ``connection``, before anything else is done there.

        Waits for other transactions that claimed one of the keys, for lock_timeout at most: KeysBusyError.
        """
        try:
            return await self._claim(connection, keys, look_up=True)
        except pg.LockNotAvailable as error:
            raise KeysBusyError from error

    async def busy(self, connection: AsyncConnection, keys: Iterable[RequestKey]) -> set[RequestKey]:
        """Return which keys another transaction has claimed that has not ended; leaves nothing behind."""
        found = set()
        await connection.execute(_SHORT_TIMEOUT)
        pending = [list(keys)]
        while pending:
            part = pending.pop()
            probe = await connection.begin_nested()
            try:
                await self._claim(connection, part, look_up=False)
            except pg.LockNotAvailable:
                middle = len(part) // 2
                if middle:
                    pending += [part[:middle], part[middle:]]
                else:
                    found.update(part)
            finally:
                await probe.rollback()
        return found

    async def _claim(self, connection: AsyncConnection, keys: Iterable[RequestKey], *, look_up: bool) -> Claimed:
        wanted = list(keys)
        xid, at_us = 0, _now_us() + self._ahead_us
        taken: dict[RequestKey, Earlier] = {}
        for ring, named in zip(self._rings, (False, True), strict=True):
            some = {key.digest: key for key in wanted if key.named is named}
            left = sorted(some)
            if not left:
                continue
            at_us, xid, phase, claimed = await self._claim_in_phase(connection, ring, some, at_us)
            for table, count in zip(phase.tables, claimed, strict=True):
                if count == len(left) or not look_up:
                    continue
                others = await _look_up(connection, ring, table, left)
                if count + len(others) != len(left):
                    raise RetryableStoreError("the keys changed while they were claimed")
                taken |= {some[digest]: earlier for digest, earlier in others.items()}
                left = [digest for digest in left if digest not in others]
        return Claimed(xid, at_us, taken)

    async def _claim_in_phase(
        self, connection: AsyncConnection, ring: Ring, keys: Mapping[bytes, RequestKey], at_us: int
    ) -> tuple[int, int, Phase, tuple[int, ...]]:
        """Claim in the tables of the phase at ``at_us``, or of the one it really is by PostgreSQL's clock.

        Return that clock, the transaction's number, the phase, and how many were claimed in each of its tables.
        """
        while True:
            phase = ring.phase(at_us)
            parameters = _parameters(ring, phase, sorted(keys), keys)
            row = await writing.execute(connection, _claim_in(ring, phase.tables), parameters)
            at_us, xid, *claimed = (int(row.get_value(0, n) or 0) for n in range(row.nfields))
            if phase.since_us <= at_us < phase.until_us:
                return at_us, xid, phase, tuple(claimed)
            # Nothing was claimed: our idea of its clock was wrong. In a transaction that clock stands still.
            self._ahead_us = at_us - _now_us()

    async def note_rejected(
        self, connection: AsyncConnection, claimed: Claimed, rejected: Mapping[RequestKey, int]
    ) -> None:
        """Store how many rows PostgreSQL refused of requests whose keys were claimed in this transaction."""
        for key, count in rejected.items():
            for table in self._rings[key.named].phase(claimed.at_us).tables:
                await connection.execute(_note_in(table), {"digest": key.digest.hex(), "rejected": count})


async def empty_unused(engine: AsyncEngine, windows: Windows) -> None:
    """Empty the tables whose keys are past their windows; what is in use is tried again next time.

    No writer waits: none uses these tables. One receiver does it at a time. Raises StoreError.
    """
    try:
        for ring in rings(windows):
            async with engine.connect() as connection:
                tables = ring.unused(await _clock_us(connection))
            for table in tables:
                async with engine.begin() as connection:
                    await _empty(connection, ring, table)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def _empty(connection: AsyncConnection, ring: Ring, table: str) -> None:
    """Empty a table that was not in use a moment ago, unless it is now."""
    if not (await connection.execute(text(f"SELECT EXISTS (SELECT FROM {table})"))).scalar_one():  # noqa: S608
        return
    if not (await connection.execute(_TRY_LOCK, {"key": lock_keys.DIGESTS})).scalar_one():
        return
    await connection.execute(_LOCK_TIMEOUT)
    try:
        async with connection.begin_nested():
            await connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            # With the lock held nobody begins to use it; whoever did before has moved the clock into its phase.
            if table in ring.unused(await _clock_us(connection)):
                await connection.execute(text(f"TRUNCATE {table}"))
    except DBAPIError as error:
        if not isinstance(error.orig, pg.LockNotAvailable):
            raise


async def _clock_us(connection: AsyncConnection) -> int:
    return int((await connection.execute(_CLOCK)).scalar_one())


def _parameters(ring: Ring, phase: Phase, digests: list[bytes], keys: Mapping[bytes, RequestKey]) -> list[bytes]:
    parameters = [
        _array(digests),
        str(phase.since_us).encode(),
        str(phase.until_us - 1).encode(),
        str(ring.window_us / _US).encode(),
    ]
    if ring.has_content:
        parameters.append(_array([keys[digest].content for digest in digests]))
    return parameters


def _array(uuids: list[bytes]) -> bytes:
    """Return the text of an array of uuids."""
    return f"{{{','.join(map(bytes.hex, uuids))}}}".encode()


async def _look_up(connection: AsyncConnection, ring: Ring, table: str, digests: list[bytes]) -> dict[bytes, Earlier]:
    rows = await connection.execute(_taken_in(ring, table), {"digests": [digest.hex() for digest in digests]})
    return {row.digest.bytes: Earlier(max(0.0, row.age_s), row.content.bytes, row.rejected, row.xmin) for row in rows}


def _now_us() -> int:
    return time.time_ns() // 1000
