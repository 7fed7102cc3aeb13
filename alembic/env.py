"""Runs the migrations: on a connection that is handed in, or on OTEL_INGEST_DATABASE_URL."""

import os

from sqlalchemy import Connection, create_engine, text

from alembic import context
from storage.engine import psycopg_url, session_options
from storage.errors import PermanentStoreError
from storage.models import metadata
from storage.operations import PLUGIN

POSTGRESQL_MIN = 150000

# Tables that are partitions belong to their parents: neither they nor their indexes are compared.
PARTITIONS = text("""
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relispartition AND n.nspname = current_schema()
""")


def run(connection: Connection) -> None:
    """Migrate on ``connection``."""
    if connection.dialect.server_version_info < (15,):
        raise PermanentStoreError("PostgreSQL 15 or newer is needed")
    partitions = set(connection.execute(PARTITIONS).scalars())
    connection.rollback()

    def include_name(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name not in partitions

    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        compare_type=True,
        autogenerate_plugins=["alembic.autogenerate.*", PLUGIN],
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Take the connection of ``storage.migrate``, or make one."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        run(connection)
        return
    url = os.environ.get("OTEL_INGEST_DATABASE_URL")  # noqa: TID251 - alembic's command line is a composition root
    if not url:
        raise SystemExit("set OTEL_INGEST_DATABASE_URL to postgresql://user@host/database")
    engine = create_engine(psycopg_url(url), connect_args={"options": session_options()})
    with engine.connect() as own:
        run(own)
    engine.dispose()


main()
