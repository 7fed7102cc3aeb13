"""The one way in which rows leave a telemetry table, but for the dropping of whole partitions.

What describes the rows (counts by minute) or holds them in another form (packed blocks) is kept right here, in the
transaction of the deletion.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    Table,
    TableClause,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import Text, UserDefinedType

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

    Who may call it: the owner of the schema alone (``Access.owning``). Neither otel_ingest_writer nor
    otel_ingest_reader may delete telemetry, and who asks for it must have shown the role admin before.
    Raises SQLAlchemyError.
    """
    if not 1 <= limit <= DELETE_ROWS_MAX:
        raise ValueError(f"limit={limit}: 1 to {DELETE_ROWS_MAX} rows")
    gone = 0
    for part in await _chosen(connection, table, conditions, limit):
        gone += await _delete_from(connection, table, conditions, part)
    return gone


async def _chosen(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], limit: int
) -> Sequence[Row[str, str]]:
    """Return which rows go, by partition: its name, their tuple ids."""
    partition: ColumnElement[int] = literal_column(f"{table.name}.tableoid")
    place: ColumnElement[str] = literal_column(f"{table.name}.ctid")
    rows = select(partition.label("partition"), place.label("place")).select_from(table).where(*conditions)
    found = rows.limit(limit).subquery("found")
    name = cast(cast(found.c.partition, REGCLASS), Text).label("name")
    places = cast(func.array_agg(found.c.place), Text).label("places")
    return (await connection.execute(select(name, places).group_by(found.c.partition))).all()


async def _delete_from(
    connection: AsyncConnection, table: Table, conditions: Sequence[ColumnElement[bool]], part: Row[str, str]
) -> int:
    """Delete the rows at their places in one partition.

    The statement has a snapshot of its own: the conditions are asked once more, whatever a place holds by now.
    """
    partition = TableClause(part.name, *(column(c.name, c.type) for c in table.columns))

    def of_partition(element: Any, **_: Any) -> Any:
        return partition.c[element.name] if isinstance(element, Column) and element.table is table else None

    places = cast(bindparam("places", part.places, Text), _Tids())
    at_place: ColumnElement[bool] = literal_column("ctid") == func.any(places)
    asked = [replacement_traverse(condition, {}, of_partition) for condition in conditions]
    return int((await connection.execute(delete(partition).where(at_place, *asked))).rowcount)
