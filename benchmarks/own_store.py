"""A PostgreSQL of a benchmark's own: begun, migrated, and gone with its files afterwards."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from storage import embedded, migrate


@asynccontextmanager
async def own_store() -> AsyncIterator[embedded.EmbeddedPostgres]:
    """Yield the server, with the schema in it."""
    data_dir = Path(tempfile.mkdtemp(prefix="oi-"))
    server = await embedded.start(data_dir)
    try:
        await migrate.upgrade(server.url)
        yield server
    finally:
        await server.stop()
        # As root it lies elsewhere.
        shutil.rmtree(server.cluster.pgdata.resolve().parent, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)
