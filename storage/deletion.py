"""The one way in which rows leave a telemetry table, but for the dropping of whole partitions.

What describes the rows (counts by minute) or holds them in another form (packed blocks, cold files) is kept right here,
in the transaction of the deletion.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, bindparam, cast, delete, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text, UserDefinedType

from storage import rollups
from storage.cold.thawing import drop_cold, surface_cold
from storage.errors import PermanentStoreError
from storage.packing.removal import drop_blocks, surface
from storage.periods import Range

# Some 30 ms of one statement on a common disk, and 600 KB of tuple ids; more is asked for in more transactions.
DELETE_ROWS_MAX = 50_000


class _Tids(UserDefinedType[Any]):
    """PostgreSQL's tid[]; a text such as ``{"(0,1)"}`` to the driver."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tid[]"


async def delete_rows(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], limit: int
) -> int:
    """Delete at most ``limit`` rows of a telemetry table that meet all ``conditions``; return how many went.

    ``table`` is one of ``storage.models.TABLES``, ``conditions`` are of its columns; none: any row. ``limit`` is 1 to
    DELETE_ROWS_MAX (ValueError). Nothing is committed: the caller's transaction decides, and holds its row locks until
    then, so it is kept short; to delete more, commit and call again until fewer than ``limit`` went. Writers do not
    wait for it: they only add rows.

    Who may call it: the owner of the schema and otel_ingest_eraser. Neither otel_ingest_writer nor otel_ingest_reader
    may delete telemetry, and who asks for it must have shown the role admin before.
    Raises SQLAlchemyError.
    """
    if not 1 <= limit <= DELETE_ROWS_MAX:
        raise ValueError(f"limit={limit}: 1 to {DELETE_ROWS_MAX} rows")
    gone = await _delete(connection, table, conditions, limit)
    # What was packed or cold and matches is rows now, of this transaction: they are known by their keys.
    surfaced = await surface(connection, table, conditions, limit - gone) if gone < limit else []
    if gone + len(surfaced) < limit:
        surfaced += await surface_cold(connection, table, conditions, limit - gone - len(surfaced))
    if surfaced:
        times = [moment for moment, _ in surfaced]
        within = (table.c.time >= min(times), table.c.time <= max(times))
        gone += await _delete(connection, table, [*within, table.c.id.in_([i for _, i in surfaced])], len(surfaced))
    return gone


async def _delete(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], limit: int
) -> int:
    """Delete rows that are no part of a packed block, those which have just left theirs included."""
    gone = 0
    for part in await _chosen(connection, table, conditions, limit):
        gone += await _delete_from(connection, table, conditions, part)
    return gone


async def _chosen(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], limit: int
) -> Sequence[Row[Any]]:
    """Return which rows go, by partition: it, their tuple ids, the first and the last of their times."""
    partition: ColumnElement[int] = literal_column("tableoid")
    place: ColumnElement[str] = literal_column("ctid")
    rows = select(partition.label("partition"), place.label("place"), table.c.time).where(*conditions)
    found = rows.limit(limit).subquery("found")
    places = cast(func.array_agg(found.c.place), Text).label("places")
    edges = (func.min(found.c.time).label("first"), func.max(found.c.time).label("last"))
    return (await connection.execute(select(found.c.partition, places, *edges).group_by(found.c.partition))).all()


async def _delete_from(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], part: Row[Any]
) -> int:
    """Delete the rows at their places in one partition.

    The times leave that partition alone to be looked at; the parent is named, since rights are on it. The statement has
    a snapshot of its own: the conditions are asked once more, whatever a place holds by now.
    """
    places = cast(bindparam("places", part.places, Text), _Tids())
    here: list[ColumnElement[bool]] = [
        table.c.time >= part.first,
        table.c.time <= part.last,
        literal_column("tableoid") == part.partition,
        literal_column("ctid") == func.any(places),
    ]
    leaving = delete(table).where(*here, *conditions)
    gone = leaving.returning(*(table.c[name] for name in rollups.needed(table))).cte("gone")
    uncounted = rollups.subtracting(table, gone)
    if not uncounted:
        return int((await connection.execute(leaving)).rowcount)
    counted = select(func.count()).select_from(gone)
    for n, taking in enumerate(uncounted):
        counted = counted.add_cte(taking.cte(f"uncounted_{n}"))
    return int((await connection.execute(counted)).scalar_one())


async def drop_detached(connection: AsyncConnection, table: str, name: str, bounds: Range) -> None:
    """Drop a table that was a partition of ``table`` with these bounds and is detached, in the caller's transaction.

    For the owner of the schema. What describes its rows goes with them. Raises PermanentStoreError where it is a
    partition still, or again; SQLAlchemyError.
    """
    quoted = {"name": f'"{name}"'}
    if (await connection.execute(text("SELECT to_regclass(:name)"), quoted)).scalar() is None:
        return
    await connection.execute(text(f'LOCK TABLE "{name}" IN ACCESS EXCLUSIVE MODE'))
    is_partition = text("SELECT relispartition FROM pg_class WHERE oid = to_regclass(:name)")
    if (await connection.execute(is_partition, quoted)).scalar_one():
        raise PermanentStoreError(f"{name} is a partition of {table}: it is not dropped")
    await connection.execute(text(f'DROP TABLE "{name}"'))
    # Who deletes records at this moment may put what is beside them back: into blocks, which are looked at again.
    while await drop_blocks(connection, table, bounds.since, bounds.until) + await drop_cold(
        connection, table, bounds.since, bounds.until
    ):
        pass
    await rollups.forget(connection, table, bounds.since, bounds.until)
