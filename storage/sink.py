"""Step 6: batches -> COPY, COMMIT. When ``write`` returns, the rows are durable and readers see them."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import psycopg
from psycopg import AsyncConnection as PsycopgConnection
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import partitions
from storage.api import RejectedRow
from storage.batch import COPY_HEADER, COPY_TRAILER, Batch
from storage.dberrors import is_data_error, translate
from storage.interning import insert_missing

# One send to libpq: large enough that its calls cost nothing, small enough to keep the event loop lively.
_COPY_CHUNK_BYTES = 256 * 1024
# Ids known to be committed; a resource is ~100 bytes here, so this is some 10 MB at its very most.
_KNOWN_IDS_MAX = 50_000

Row = tuple[int, int]
"""A row's place: batch, index in the batch."""


class PostgresSink:
    """``storage.api.RowSink`` over COPY BINARY."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._days: dict[str, set[int]] = {}
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def write(self, batches: Sequence[Batch]) -> list[list[RejectedRow]]:
        """See ``RowSink.write``."""
        rejected: list[list[RejectedRow]] = [[] for _ in batches]
        places = [(b, i) for b, batch in enumerate(batches) for i in range(len(batch.rows))]
        if not places:
            return rejected
        await self._ensure_partitions(batches)
        places = self._without_partition(batches, places, rejected)
        try:
            await self._store_with_new_partitions(batches, places)
        except (psycopg.Error, SQLAlchemyError, OSError) as error:
            if not is_data_error(error):
                raise translate(error) from error
            for batch, index, reason in await self._isolate(batches, places):
                rejected[batch].append(RejectedRow(index, reason))
        self._remember(batches)
        return rejected

    async def _ensure_partitions(self, batches: Sequence[Batch]) -> None:
        """Make what is missing for the days of these batches."""
        table = batches[0].table.name
        known = self._days.setdefault(table, set())
        missing = {day for batch in batches for day in batch.days} - known
        if missing:
            known |= await partitions.ensure_days(self._engine, table, missing)

    def _without_partition(
        self, batches: Sequence[Batch], places: list[Row], rejected: list[list[RejectedRow]]
    ) -> list[Row]:
        """Take out rows of days that may have no partition any more (the maximum is reached)."""
        known = self._days[batches[0].table.name]
        if all(batch.days <= known for batch in batches):
            return places
        kept = []
        for b, i in places:
            if batches[b].day_of_row(i) in known:
                kept.append((b, i))
            else:
                reason = f"its day would need one partition more than the {partitions.PARTITIONS_MAX} allowed"
                rejected[b].append(RejectedRow(i, reason))
        return kept

    async def _store_with_new_partitions(self, batches: Sequence[Batch], places: list[Row]) -> None:
        """Store; when a partition went away meanwhile (retention), make it again and store once more."""
        try:
            await self._store(batches, places)
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if not (isinstance(cause, pg.CheckViolation) and "no partition of relation" in str(cause)):
                raise
            self._days.pop(batches[0].table.name, None)
            await self._ensure_partitions(batches)
            await self._store(batches, places)

    async def _store(self, batches: Sequence[Batch], places: list[Row]) -> None:
        """One transaction: resources, scopes, rows, COMMIT."""
        table = batches[0].table
        columns = ", ".join(column.name for column in table.columns)
        statement = f"COPY {table.name} ({columns}) FROM STDIN (FORMAT BINARY)"
        async with self._engine.connect() as connection, connection.begin():
            await insert_missing(connection, batches, self._known)
            driver = await _driver(connection)
            async with driver.cursor() as cursor, cursor.copy(statement) as copy:
                for chunk in _chunks(batches[b].rows[i] for b, i in places):
                    await copy.write(chunk)

    async def _isolate(self, batches: Sequence[Batch], places: list[Row]) -> list[tuple[int, int, str]]:
        """Store what can be stored by halving; return (batch, index, reason) of each row that cannot.

        The halves are transactions of their own, so what is good is committed; costs 2·k·log2(n) COPYs for k bad rows.
        """
        refused = []
        pending = [places]
        while pending:
            part = pending.pop()
            try:
                await self._store(batches, part)
            except (psycopg.Error, SQLAlchemyError, OSError) as error:
                if not is_data_error(error):
                    raise translate(error) from error
                if len(part) == 1:
                    refused.append((*part[0], f"PostgreSQL refused it: {_primary(error)}"))
                else:
                    middle = len(part) // 2
                    pending += [part[:middle], part[middle:]]
        return refused

    def _remember(self, batches: Sequence[Batch]) -> None:
        """Note which resources and scopes are committed; the oldest are forgotten first."""
        for batch in batches:
            for identifier in (*batch.resources, *batch.scopes):
                self._known[identifier] = None
                self._known.move_to_end(identifier)
        while len(self._known) > _KNOWN_IDS_MAX:
            self._known.popitem(last=False)


async def _driver(connection: AsyncConnection) -> PsycopgConnection[tuple[object, ...]]:
    """Return the psycopg connection below a SQLAlchemy one, inside its transaction."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, PsycopgConnection)  # noqa: S101 - the engine is made for psycopg alone
    return driver


def _chunks(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Join rows to pieces worth a send, with the header before and the trailer behind."""
    parts = [COPY_HEADER]
    size = 0
    for row in rows:
        parts.append(row)
        size += len(row)
        if size >= _COPY_CHUNK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    parts.append(COPY_TRAILER)
    yield b"".join(parts)


def _primary(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    message = getattr(getattr(cause, "diag", None), "message_primary", None)
    return message or type(cause).__name__
