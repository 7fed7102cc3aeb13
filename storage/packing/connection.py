"""A connection whose statements read stored and packed records alike.

A statement that names a telemetry table of which it needs packed records is run with a common table expression of the
table's own name in front, which is the table and the unpacked records together; PostgreSQL does the rest, with the
table's indexes for its part. So whoever asks, of whatever, need not know of packing. One connection is one snapshot.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncResult

from storage.models import TABLES
from storage.packing.lookup import UNPACKED_BYTES_MAX, BlockFacts, PackedState, Unpacker, candidates, packed_state
from storage.packing.needs import RECENT_S, Order, Reading, readings
from storage.packing.shadow import Edge, Shadow, shadowed

# What is counted or limited is given as many packed records as this for each that is wanted, then four times as many.
_FIRST_SHARE, _NEXT_SHARE = 2, 4


@asynccontextmanager
async def reading_connection(
    engine: AsyncEngine, bytes_max: int = UNPACKED_BYTES_MAX
) -> "AsyncIterator[PackedConnection]":
    """Yield a connection in one snapshot; ``bytes_max``: bytes of columns that one statement may unpack."""
    connection = PackedConnection(engine.execution_options(isolation_level="REPEATABLE READ"))
    connection.bytes_max = bytes_max
    async with connection:
        yield connection


class PackedConnection(AsyncConnection):
    """See ``reading_connection``."""

    __slots__ = ("_state", "bytes_max")

    bytes_max: int
    _state: PackedState | None

    async def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Run a statement over stored and packed records. Raises QuestionTooLarge."""
        reads = await self._packed_reads(statement)
        if not reads:
            return await super().execute(statement, parameters, execution_options=execution_options)
        if len(reads) == 1:
            ((table, reading),) = reads.items()
            if reading.enough is not None or (reading.order is not None and reading.order.inner is None):
                return await self._in_turns(statement, parameters, table, reading)
        return await self._ask(statement, parameters, await self._shadows(statement, parameters, reads))

    async def reads_packed(self, statement: Any) -> bool:
        """Whether the statement may need packed records."""
        return bool(await self._packed_reads(statement))

    @asynccontextmanager
    async def stream(  # type: ignore[override]
        self, statement: Any, parameters: Any = None, *, execution_options: Any = None
    ) -> AsyncIterator[AsyncResult[Any]]:
        """Stream a statement over stored and packed records; what it needs of these is unpacked at once.

        Raises QuestionTooLarge.
        """
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
        recent = datetime.now(UTC) - timedelta(seconds=RECENT_S)
        reads = {
            name: reading
            for name, reading in readings(statement, list(TABLES.values())).items()
            if not all(need.since is not None and need.since >= recent for need in reading.needs)
        }
        if reads and getattr(self, "_state", None) is None:
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
        blocks = await candidates(self, table, reading.needs)
        order, unpacker = reading.order, Unpacker(self, reading, self.bytes_max)
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
