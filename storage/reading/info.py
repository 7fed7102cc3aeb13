"""What the store is and holds."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.mapping import us_of
from storage.models import TABLES
from storage.views import StoreInfo

_STEP = timedelta(microseconds=1)
_PACKED = text(
    "SELECT table_name AS name, sum(records)::bigint AS rows, "
    "sum(pg_column_size(data) + pg_column_size(trace_hashes))::bigint AS bytes FROM packed_blocks GROUP BY table_name"
)
_COLD = text(
    "SELECT table_name AS name, min(first_time) AS first, max(last_time) AS last, sum(records)::bigint AS rows "
    "FROM cold_chunks GROUP BY table_name"
)
_COLD_BYTES = text(
    "SELECT table_name AS name, sum(bytes)::bigint AS bytes FROM cold_files WHERE state = 'live' GROUP BY table_name"
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
    cold = {row.name: row for row in await connection.execute(_COLD)}
    for name, found in cold.items():
        rows[name] = rows.get(name, 0) + int(found.rows)
    cold_bytes = {row.name: int(row.bytes) for row in await connection.execute(_COLD_BYTES)}
    for name, table in TABLES.items():
        first, last = await _edges(connection, table.c.time, cold.get(name))
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
        cold_rows={name: int(row.rows) for name, row in cold.items()},
        cold_bytes=cold_bytes,
    )


async def _edges(connection: AsyncConnection, time: Any, cold: Any) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last time; those of cold records are known without a look into their files."""
    earlier, later = _edge(time), _edge(time.desc(), time)
    if cold is not None:
        earlier, later = earlier.where(time <= cold.first - _STEP), later.where(time >= cold.last + _STEP)
    first = (await connection.execute(earlier)).scalar_one_or_none()
    last = (await connection.execute(later)).scalar_one_or_none()
    return (first or cold.first, last or cold.last) if cold is not None else (first, last)


def _edge(order: Any, column: Any = None) -> Select[Any]:
    return select(order if column is None else column).order_by(order).limit(1)
