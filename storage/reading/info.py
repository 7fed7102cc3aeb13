"""What the store is and holds."""

from typing import Any

from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.mapping import us_of
from storage.models import TABLES
from storage.views import StoreInfo

_PACKED = text(
    "SELECT table_name AS name, sum(records)::bigint AS rows, "
    "sum(pg_column_size(data) + pg_column_size(trace_hashes))::bigint AS bytes FROM packed_blocks GROUP BY table_name"
)


async def store_info(connection: AsyncConnection) -> StoreInfo:
    """Return version, sizes and edges of the store."""
    sizes = text(
        "SELECT p.relname AS name, count(*) AS n, sum(greatest(c.reltuples, 0))::bigint AS rows, "
        "sum(pg_total_relation_size(c.oid))::bigint AS bytes FROM pg_inherits i "
        "JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent "
        "WHERE p.relkind = 'p' AND p.relname = ANY(:names) GROUP BY p.relname"
    )
    rows, size, partitions = {}, {}, {}
    oldest: dict[str, int | None] = {}
    newest: dict[str, int | None] = {}
    version = (await connection.execute(text("SHOW server_version"))).scalar_one()
    for row in await connection.execute(sizes, {"names": list(TABLES)}):
        rows[row.name], size[row.name], partitions[row.name] = row.rows, row.bytes, row.n
    for row in await connection.execute(_PACKED):
        rows[row.name] = rows.get(row.name, 0) + row.rows
        size[row.name] = size.get(row.name, 0) + row.bytes
    for name, table in TABLES.items():
        first = (await connection.execute(_edge(table.c.time))).scalar_one_or_none()
        last = (await connection.execute(_edge(table.c.time.desc(), table.c.time))).scalar_one_or_none()
        oldest[name] = us_of(first) * 1000 if first else None
        newest[name] = us_of(last) * 1000 if last else None
    recent = text("SELECT count(*) FROM rejected_records WHERE received_at > now() - interval '24 hours'")
    rejected = (await connection.execute(recent)).scalar_one()
    return StoreInfo(
        postgresql_version=str(version).split()[0],
        rows=rows,
        bytes=size,
        partitions=partitions,
        oldest_ns=oldest,
        newest_ns=newest,
        rejected_last_day=rejected,
    )


def _edge(order: Any, column: Any = None) -> Select[Any]:
    return select(order if column is None else column).order_by(order).limit(1)
