"""Resources and scopes: stored once each, in the transaction of the first rows that name them."""

from collections.abc import Container, Iterator, Sequence

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.batch import Batch
from storage.rows import ResourceRow, ScopeRow
from storage.work import Parts, places_of

Interned = ResourceRow | ScopeRow

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


def unknown(batches: Sequence[Batch], parts: Parts, known: Container[bytes]) -> list[Interned]:
    """Return what the rows of ``parts`` name and is not known to be committed.

    Resources come first, each kind in the order of ids: two writers then never wait in a circle.
    """
    resources = {k: v for batch in batches for k, v in batch.resources.items() if k not in known}
    scopes = {k: v for batch in batches for k, v in batch.scopes.items() if k not in known}
    if not (resources or scopes):
        return []
    named = {identifier for b, i in places_of(parts) for identifier in batches[b].interned_of_row(i)}
    return [
        *(resources[k] for k in sorted(resources.keys() & named)),
        *(scopes[k] for k in sorted(scopes.keys() & named)),
    ]


async def insert(connection: AsyncConnection, rows: Sequence[Interned]) -> None:
    """Insert those that are not there, in the order given."""
    for statement, some in _by_statement(rows):
        if some:
            await connection.execute(statement, some)


def _by_statement(rows: Sequence[Interned]) -> Iterator[tuple[TextClause, list[dict[str, object]]]]:
    yield _RESOURCES, [_parameters(row) for row in rows if isinstance(row, ResourceRow)]
    yield _SCOPES, [_parameters(row) for row in rows if isinstance(row, ScopeRow)]


def _parameters(row: Interned) -> dict[str, object]:
    return row._asdict() | {"id": row.id.hex(), "attributes": row.attributes.decode()}
