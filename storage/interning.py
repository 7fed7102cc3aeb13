"""Resources and scopes: stored once each, in the transaction of the first rows that name them."""

from collections.abc import Container, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.batch import Batch
from storage.rows import ResourceRow, ScopeRow

_RESOURCES = text("""
INSERT INTO resources (id, component, attributes, dropped_attributes_count, schema_url, exact)
VALUES (CAST(:id AS uuid), :component, CAST(:attributes AS jsonb), :dropped_attributes_count, :schema_url, :exact)
ON CONFLICT (id) DO NOTHING
""")
_SCOPES = text("""
INSERT INTO scopes (id, name, version, attributes, dropped_attributes_count, schema_url, exact)
VALUES (CAST(:id AS uuid), :name, :version, CAST(:attributes AS jsonb), :dropped_attributes_count, :schema_url, :exact)
ON CONFLICT (id) DO NOTHING
""")


async def insert_missing(connection: AsyncConnection, batches: Sequence[Batch], known: Container[bytes]) -> None:
    """Insert what is not known to be committed, in the order of ids: two writers then never wait in a circle."""
    resources = {k: v for batch in batches for k, v in batch.resources.items() if k not in known}
    scopes = {k: v for batch in batches for k, v in batch.scopes.items() if k not in known}
    if resources:
        await connection.execute(_RESOURCES, [_parameters(resources[k]) for k in sorted(resources)])
    if scopes:
        await connection.execute(_SCOPES, [_parameters(scopes[k]) for k in sorted(scopes)])


def _parameters(row: ResourceRow | ScopeRow) -> dict[str, object]:
    return row._asdict() | {"id": row.id.hex(), "attributes": row.attributes.decode()}
