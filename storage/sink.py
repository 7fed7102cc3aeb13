"""Step 6: batches -> COPY, COMMIT. When ``write`` returns, the rows are durable and readers see them."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import psycopg
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import partitions, rollups, spooled, writing
from storage.api import Outcome
from storage.batch import COPY_HEADER, COPY_TRAILER, Batch
from storage.config import Windows
from storage.dberrors import is_data_error, reason, translate
from storage.digests import Claimed, Digests, KeysBusyError
from storage.engine import writers_of
from storage.errors import RetryableStoreError
from storage.interning import Interned, insert, unknown
from storage.rejected import RejectedBounds, RejectedRecords
from storage.round_trip import driver_of
from storage.rows import ResourceRow
from storage.transactions import reference
from storage.work import Parts, Place, Work, parts_of, places_of

# One send to libpq: large enough that its calls cost nothing, small enough to keep the event loop lively.
_COPY_CHUNK_BYTES = 256 * 1024
# Ids known to be committed; a resource is ~100 bytes here, so this is some 10 MB at its very most.
_KNOWN_IDS_MAX = 50_000


class PostgresSink:
    """``storage.api.RowSink`` over COPY BINARY."""

    def __init__(
        self, engine: AsyncEngine, windows: Windows | None = None, rejected: RejectedBounds | None = None
    ) -> None:
        self._engine = engine
        self._writers = writers_of(engine)
        self._digests = Digests(windows or Windows())
        self._rejected = RejectedRecords(rejected or RejectedBounds())
        self._days: dict[str, set[int]] = {}
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """See ``RowSink.write``."""
        work = Work(batches)
        try:
            if work.parts:
                await self._ensure_partitions(batches)
                self._without_partition(work)
            if work.parts or work.has_rejected:
                await self._store_what_is_free(work)
        except KeysBusyError as error:
            raise RetryableStoreError("the same requests are being stored by others at this moment") from error
        except (psycopg.Error, SQLAlchemyError, OSError) as error:
            raise translate(error) from error
        return work.outcomes()

    async def _store_what_is_free(self, work: Work) -> None:
        """Store; a request that another transaction is storing for long costs its neighbours that wait, once."""
        try:
            await self._store_or_isolate(work)
        except KeysBusyError:
            async with self._engine.connect() as connection, connection.begin():
                work.leave_out(await self._digests.busy(connection, work.keys()))
            if work.parts or work.has_rejected:
                await self._store_or_isolate(work)

    async def _store_or_isolate(self, work: Work) -> None:
        """Store all rows, or all but those that PostgreSQL refuses."""
        try:
            await self._transaction(work, self._store)
        except (psycopg.Error, DBAPIError) as error:
            if not is_data_error(error):
                raise
            if _is_missing_partition(error):
                # Retention took a day meanwhile: it is made again, or its own rows are refused.
                self._days.pop(work.batches[0].table.name, None)
                await self._ensure_partitions(work.batches)
                self._without_partition(work)
            await self._transaction(work, self._store_what_can_be)

    async def _ensure_partitions(self, batches: Sequence[Batch]) -> None:
        """Make what is missing for the days of these batches."""
        table = batches[0].table.name
        known = self._days.setdefault(table, set())
        missing = {day for batch in batches for day in batch.days} - known
        if missing:
            known |= await partitions.ensure_days(self._engine, table, missing)

    def _without_partition(self, work: Work) -> None:
        """Reject rows of days that can have no partition now (see ``ensure_days``)."""
        known = self._days[work.batches[0].table.name]
        if all(batch.days <= known for batch in work.batches):
            return
        reason = f"no partition for its day: {partitions.PARTITIONS_MAX} are there, or its own was detached"
        late = [(b, i) for b, i in places_of(work.parts) if work.batches[b].day_of_row(i) not in known]
        work.refuse_early([(place, reason) for place in late])

    async def _transaction(
        self, work: Work, store: Callable[[AsyncConnection, Work], Awaitable[list[Interned]]]
    ) -> None:
        """Claim the keys, store, COMMIT; what is known of the store is learnt only then."""
        async with self._writers.connect() as connection:
            try:
                claimed = await self._claim(connection, work)
                new = await store(connection, work)
                await self._digests.note_rejected(connection, claimed, work.rejected_by_key())
                if work.has_rejected and self._rejected.on:
                    await self._rejected.keep(connection, await asyncio.to_thread(work.describe_rejected))
                named = await reference(connection, claimed.xid) if claimed.xid else ""
                counting = rollups.storing(work.batches[0].table, work.counts())
                work.committing(named)
            except BaseException as error:
                await writing.undo(connection, error)
                raise
            await writing.commit(connection, counting, named)
        self._remember(work.batches, new)

    async def _claim(self, connection: AsyncConnection, work: Work) -> Claimed:
        """Begin and claim the keys; on a session that ended since it was last used, begin again on another one."""
        while True:
            work.begin()
            may_be_gone = await writing.was_used(connection)
            try:
                if places := work.spool_places():
                    await writing.begin(connection)
                    work.spooled(await spooled.claim(connection, places))
                claimed = await self._digests.claim(connection, work.keys())
                await writing.begin(connection)
            except (psycopg.Error, DBAPIError) as error:
                if not (may_be_gone and await writing.gone(connection, error)):
                    raise
            else:
                work.claimed(claimed)
                return claimed

    async def _store(self, connection: AsyncConnection, work: Work) -> list[Interned]:
        """Resources, scopes, rows; return what was new."""
        new = unknown(work.batches, work.parts, self._known)
        await insert(connection, new)
        await _copy(connection, work.batches, work.parts)
        return new

    async def _store_what_can_be(self, connection: AsyncConnection, work: Work) -> list[Interned]:
        """Store what can be stored; note the place and the reason of each row that cannot.

        Every attempt is a savepoint: one that fails costs its own rows only, and what breaks the connection undoes all.
        """
        new = unknown(work.batches, work.parts, self._known)
        faults = await _insert_one_by_one(connection, new)
        refused, sound = _split(work.batches, places_of(work.parts), faults)
        work.refuse(refused + await _copy_by_halving(connection, work.batches, sound))
        return [row for row in new if row.id not in faults]

    def _remember(self, batches: Sequence[Batch], new: Sequence[Interned]) -> None:
        """Note what is committed now, and what was used; what was not used for longest is forgotten first."""
        self._known.update((row.id, None) for row in new)
        for batch in batches:
            for identifier in (*batch.resources, *batch.scopes):
                if identifier in self._known:
                    self._known.move_to_end(identifier)
        while len(self._known) > _KNOWN_IDS_MAX:
            self._known.popitem(last=False)


async def _insert_one_by_one(connection: AsyncConnection, rows: Sequence[Interned]) -> dict[bytes, str]:
    """Insert what can be inserted; return id -> reason of what PostgreSQL refused."""
    faults = {}
    for row in rows:
        try:
            async with connection.begin_nested():
                await insert(connection, [row])
        except DBAPIError as error:
            if not is_data_error(error):
                raise
            kind = "resource" if isinstance(row, ResourceRow) else "scope"
            faults[row.id] = f"PostgreSQL refused its {kind}: {reason(error)}"
    return faults


def _split(
    batches: Sequence[Batch], places: list[Place], faults: dict[bytes, str]
) -> tuple[list[tuple[Place, str]], list[Place]]:
    """Return the rows that name a refused resource or scope, with the reason, and the others."""
    if not faults:
        return [], places
    refused, sound = [], []
    for place in places:
        b, i = place
        reason = next((faults[k] for k in batches[b].interned_of_row(i) if k in faults), None)
        if reason is None:
            sound.append(place)
        else:
            refused.append((place, reason))
    return refused, sound


async def _copy_by_halving(
    connection: AsyncConnection, batches: Sequence[Batch], places: list[Place]
) -> list[tuple[Place, str]]:
    """Copy what can be copied; return the place and the reason of each row that cannot. 2·k·log2(n) COPYs for k."""
    refused = []
    pending = [places] if places else []
    while pending:
        part = pending.pop()
        try:
            async with connection.begin_nested():
                await _copy(connection, batches, parts_of(part))
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            if len(part) == 1:
                refused.append((part[0], f"PostgreSQL refused it: {reason(error)}"))
            else:
                middle = len(part) // 2
                pending += [part[:middle], part[middle:]]
    return refused


async def _copy(connection: AsyncConnection, batches: Sequence[Batch], parts: Parts) -> None:
    """COPY the rows of ``parts``; all batches are of one table."""
    if not parts:
        return
    table = batches[0].table
    columns = ", ".join(column.name for column in table.columns)
    statement = f"COPY {table.name} ({columns}) FROM STDIN (FORMAT BINARY)"
    async with driver_of(connection).cursor() as cursor, cursor.copy(statement) as copy:
        for chunk in _chunks(_pieces(batches, parts)):
            await copy.write(chunk)


def _pieces(batches: Sequence[Batch], parts: Parts) -> Iterator[bytes]:
    """Yield the rows of ``parts``: of a whole batch as they were made, many at once."""
    for b, which in parts.items():
        rows = batches[b].rows
        yield from rows.pieces if len(which) == len(rows) else map(rows.__getitem__, which)


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces to what is worth a send, with the header before and the trailer behind."""
    parts = [COPY_HEADER]
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= _COPY_CHUNK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    parts.append(COPY_TRAILER)
    yield b"".join(parts)


def _is_missing_partition(error: BaseException) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, pg.CheckViolation) and "no partition of relation" in str(cause)
