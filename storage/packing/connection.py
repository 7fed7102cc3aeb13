"""A connection whose statements read stored and packed records alike.

A statement that names a telemetry table of which it needs packed records is run with a common table expression of the
table's own name in front, which is the table and the unpacked records together; PostgreSQL does the rest, with the
table's indexes for its part. So whoever asks, of whatever, need not know of packing. One connection is one snapshot.

Its transaction begins with the first statement, in one round trip with all that is to be known before: whether anything
is packed at all, and the time that statements may take. Where nothing is, statements are not looked at.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import ClauseElement, Executable, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncResult
from sqlalchemy.ext.compiler import compiles

from storage.cold.lookup import cold_candidates
from storage.dberrors import translate
from storage.models import TABLES
from storage.packing.lookup import (
    ANY_PACKED,
    UNPACKED_BYTES_MAX,
    BlockFacts,
    PackedState,
    Unpacker,
    candidates,
    packed_state,
)
from storage.packing.needs import RECENT_S, Order, Reading, readings
from storage.packing.shadow import Edge, Shadow, shadowed

# What is counted or limited is given as many packed records as this for each that is wanted, then four times as many.
_FIRST_SHARE, _NEXT_SHARE = 2, 4
_BEGIN = f"BEGIN ISOLATION LEVEL REPEATABLE READ; {ANY_PACKED}"
# Of the session, in ms, 0: none. Asked once of each, and kept with it under this name.
_OWN_LIMIT = "SELECT extract(epoch FROM CAST(current_setting('statement_timeout') AS interval)) * 1000"


@asynccontextmanager
async def reading_connection(
    engine: AsyncEngine, bytes_max: int = UNPACKED_BYTES_MAX
) -> "AsyncIterator[PackedConnection]":
    """Yield a connection in one snapshot; ``bytes_max``: bytes of columns that one statement may unpack."""
    connection = PackedConnection(engine)
    connection.bytes_max = bytes_max
    connection.forget()
    async with connection:
        await connection.says_begin()
        yield connection
        await connection.end()


@dataclass(frozen=True, slots=True)
class Manner:
    """How statements run: for so many ms at most, never longer than the session has them; planned for any value or not.

    A plan for any value is made once. It looks for a rare word or attribute through all records in the order of time,
    for it cannot know that it is rare (docs/adr/028); so it is for statements whose rows are found alike whatever is
    asked. ``out_of_order``: no index is gone through in its order; rows are found by what is looked for, then sorted.
    """

    limit_ms: int | None = None
    for_any_value: bool = False
    out_of_order: bool = False

    def sql(self, own_ms: int) -> str:
        """Return the statements that set it; ``own_ms``: the session's limit, 0: none."""
        limit_ms = min(self.limit_ms or own_ms, own_ms or self.limit_ms or 0)
        mode = "auto" if self.for_any_value else "force_custom_plan"
        scans = "off" if self.out_of_order else "on"
        return (
            f"SET LOCAL plan_cache_mode = {mode}; SET LOCAL enable_indexscan = {scans}; "
            f"SET LOCAL statement_timeout = {limit_ms:d}"
        )


class _Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, with the same parameters."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement


@compiles(_Explain)
def _explained(element: _Explain, compiler: Any, **kwargs: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **kwargs)}"


class PackedConnection(AsyncConnection):
    """See ``reading_connection``."""

    __slots__ = ("_any_packed", "_is_begun", "_set", "_state", "_wanted", "bytes_max")

    bytes_max: int
    _state: PackedState | None
    _any_packed: bool
    _is_begun: bool
    _wanted: Manner
    _set: Manner

    async def says_begin(self) -> None:
        """Have the driver leave BEGIN to this connection, until it is back in the pool."""
        await self.execution_options(isolation_level="AUTOCOMMIT")

    def forget(self) -> None:
        """Know nothing of a transaction: the next statement begins one."""
        self._state, self._any_packed, self._is_begun = None, False, False
        self._wanted = self._set = Manner()

    def manner(self, manner: Manner) -> Manner:
        """Have statements from here on run in this manner; return the one before."""
        before, self._wanted = self._wanted, manner
        return before

    async def begin_anew(self) -> None:
        """Leave a transaction in which a statement failed; the next statement begins one, with its own snapshot."""
        wanted = self._wanted
        await (await self.get_raw_connection()).driver_connection.rollback()  # type: ignore[union-attr]
        self.forget()
        self._wanted = wanted

    async def end(self) -> None:
        """End a transaction in which nothing failed: by COMMIT, for a ROLLBACK ends what is prepared too."""
        if self._is_begun:
            await (await self.get_raw_connection()).driver_connection.commit()  # type: ignore[union-attr]

    async def _ready(self) -> None:
        """Begin where it is not begun, and have the manner in force. Raises StoreError."""
        while not self._is_begun or self._wanted != self._set:
            raw = await self.get_raw_connection()
            driver: Any = raw.driver_connection
            was_used = _OWN_LIMIT in raw.info
            try:
                if not was_used:
                    raw.info[_OWN_LIMIT] = int((await _row(driver, _OWN_LIMIT))[0])
                await self._begin(driver, raw.info[_OWN_LIMIT])
            except psycopg.Error as error:
                if isinstance(error, psycopg.errors.QueryCanceled) and self._is_begun:
                    # The manner before was that of other statements, and its limit not meant for this.
                    await self.begin_anew()
                    continue
                # A session that ended while it was idle, for PostgreSQL was started anew.
                if not (was_used and driver.closed and not self._is_begun):
                    raise translate(error, reading=True) from error
                await self.invalidate(error)
                await self.says_begin()

    async def _begin(self, driver: Any, own_ms: int) -> None:
        manner = self._wanted.sql(own_ms)
        if self._is_begun:
            await driver.execute(manner)
        else:
            # The limit comes last: it is not for what is asked here.
            (self._any_packed,) = await _row(driver, f"{_BEGIN}; {manner}", 1)
            self._is_begun = True
        self._set = self._wanted

    async def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Run a statement over stored and packed records. Raises StoreError, QuestionTooLarge."""
        await self._ready()
        reads = await self._packed_reads(statement)
        if not reads:
            return await super().execute(statement, parameters, execution_options=execution_options)
        if len(reads) == 1:
            ((table, reading),) = reads.items()
            if reading.enough is not None or (reading.order is not None and reading.order.inner is None):
                return await self._in_turns(statement, parameters, table, reading)
        return await self._ask(statement, parameters, await self._shadows(statement, parameters, reads))

    async def plan(self, statement: ClauseElement) -> dict[str, Any]:
        """Return how PostgreSQL would run a statement on its rows, for its values: the uppermost node of its plan."""
        await self._ready()
        (found,) = (await super().execute(_Explain(statement))).scalar_one()
        return dict(found["Plan"])

    async def reads_packed(self, statement: Any) -> bool:
        """Whether the statement may need packed records."""
        await self._ready()
        return bool(await self._packed_reads(statement))

    async def elsewhere(self, statement: Any) -> int:
        """Return how many packed and cold records there are among which a statement may find some."""
        await self._ready()
        reads = await self._packed_reads(statement)
        found = [await self._candidates(table, reading) for table, reading in reads.items()]
        return sum(block.records for blocks in found for block in blocks)

    async def _candidates(self, table: str, reading: Reading) -> list[BlockFacts]:
        assert self._state is not None  # noqa: S101 - asked for before
        packed = await candidates(self, table, reading.needs)
        return packed + (await cold_candidates(self, table, reading.needs) if table in self._state.cold else [])

    @asynccontextmanager
    async def stream(  # type: ignore[override]
        self, statement: Any, parameters: Any = None, *, execution_options: Any = None
    ) -> AsyncIterator[AsyncResult[Any]]:
        """Stream a statement over stored and packed records; what it needs of these is unpacked at once.

        Raises QuestionTooLarge.
        """
        await self._ready()
        shadows = await self._shadows(statement, parameters, await self._packed_reads(statement))
        whole = shadowed(statement, shadows) if shadows else statement
        async with super().stream(whole, parameters, execution_options=execution_options) as result:
            yield result

    async def _shadows(self, statement: Any, parameters: Any, reads: dict[str, Reading]) -> list[Shadow]:
        """Return what is to be put in front of a statement: all that it may need, or what its first rows come from."""
        if len(reads) == 1:
            ((table, reading),) = reads.items()
            if reading.order is not None:
                return await self._of_first_rows(statement, parameters, table, reading)
        shadows = []
        for table, reading in reads.items():
            async for made, last in self._turns(table, replace(reading, order=None, enough=None)):
                shadows += made if last else []
        return shadows

    @property
    def _schema(self) -> str:
        assert self._state is not None  # noqa: S101 - asked for before anything is shadowed
        return self._state.schema

    async def _packed_reads(self, statement: Any) -> dict[str, Reading]:
        """Return what the statement reads of tables that have packed records within what it needs."""
        if not self._any_packed:
            return {}
        recent = datetime.now(UTC) - timedelta(seconds=RECENT_S)
        reads = {
            name: reading
            for name, reading in readings(statement, list(TABLES.values())).items()
            if not all(need.since is not None and need.since >= recent for need in reading.needs)
        }
        if reads and self._state is None:
            self._state = await packed_state(self, TABLES)
        return {name: reading for name, reading in reads.items() if self._reaches(name, reading)}

    def _reaches(self, table: str, reading: Reading) -> bool:
        assert self._state is not None  # noqa: S101 - asked for before
        newest = self._state.newest.get(table)
        return newest is not None and any(need.since is None or need.since <= newest for need in reading.needs)

    async def _ask(self, statement: Any, parameters: Any, shadows: Sequence[Shadow]) -> Any:
        if shadows:
            statement = shadowed(statement, shadows)
        return await super().execute(statement, parameters)

    async def _in_turns(self, statement: Any, parameters: Any, table: str, reading: Reading) -> Any:
        """Run a statement whose first rows decide, or that counts up to a number, on as few blocks as will do.

        Every turn is a whole answer of what it is given; the first that has all the rows asked for is the answer.
        """
        async for shadows, last in self._turns(table, reading):
            result = await self._ask(statement, parameters, shadows)
            if last:
                break
            frozen = result.freeze()
            if reading.order is not None and len(frozen.data) >= reading.order.limit:
                return frozen()
            if reading.enough is not None and int(frozen.data[0][0]) >= reading.enough:
                return frozen()
        return result

    async def _of_first_rows(self, statement: Any, parameters: Any, table: str, reading: Reading) -> list[Shadow]:
        """Return what holds the first rows of the SELECT that has an order and a limit, by counting them."""
        assert reading.order is not None  # noqa: S101 - or there are no first rows
        first = reading.order.inner if reading.order.inner is not None else statement
        counting = select(func.count()).select_from(first.subquery())
        async for shadows, last in self._turns(table, reading):
            if last or (await self._ask(counting, parameters, shadows)).scalar_one() >= reading.order.limit:
                break
        return shadows

    async def _turns(self, table: str, reading: Reading) -> AsyncIterator[tuple[list[Shadow], bool]]:
        """Yield what to put in front, of more and more blocks, and whether it is all of them.

        With an order it holds all records beyond some edge, and none before it, until it holds all there are.
        """
        blocks = await self._candidates(table, reading)
        order, unpacker = reading.order, Unpacker(self, table, reading, self.bytes_max, self._wanted.limit_ms)
        wanted = order.limit if order is not None else reading.enough
        if order is not None:
            blocks.sort(key=lambda block: _beyond(block, order).value, reverse=order.descending)
        done, share = 0, 0
        while done < len(blocks):
            if wanted is not None:
                edge = _beyond(blocks[done], order) if order is not None else None
                yield [Shadow(self._schema, table, reading.columns, unpacker.parts, edge)], False
            share = share * _NEXT_SHARE or (wanted or 0) * _FIRST_SHARE
            following = done
            while following < len(blocks) and (
                wanted is None or sum(b.records for b in blocks[done:following]) < share or following == done
            ):
                following += 1
            await unpacker.add(blocks[done:following])
            done = following
        yield ([Shadow(self._schema, table, reading.columns, unpacker.parts)] if blocks else []), True


def _beyond(block: BlockFacts, order: Order) -> Edge:
    """Return the edge beyond which no record of ``block`` is, nor of those behind it in the order."""
    if order.descending:
        return Edge(order.key, ">", block.last[order.key])
    return Edge(order.key, "<", block.first[order.key])


async def _row(driver: Any, statements: str, result: int = 0) -> Any:
    """Return the row of one of several statements that are sent as one message."""
    cursor = await driver.execute(statements, prepare=False)
    await cursor.set_result(result)
    return await cursor.fetchone()
