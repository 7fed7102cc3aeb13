"""Packs all that can be packed in VICTIM_URL, and kills itself with SIGKILL before or after a statement of a kind.

python -m tests.packer_victim MOMENT before|after: MOMENT is the beginning of the statement, or COMMIT.
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime

import psycopg

from storage.config import StorageConfig
from storage.engine import write_engine
from storage.packing.packer import pack_partition, to_pack

MOMENT, WHEN = sys.argv[1:]


def die() -> None:
    """End here and now."""
    os.kill(os.getpid(), signal.SIGKILL)


def trap() -> None:
    """Have every statement and COMMIT of psycopg look whether it is the moment."""
    execute, commit = psycopg.AsyncCursor.execute, psycopg.AsyncConnection.commit

    async def trapped(self: object, query: object, *args: object, **kwargs: object) -> object:
        said = query.decode() if isinstance(query, bytes) else str(query)
        here = MOMENT in said and not said.lstrip().startswith("SELECT")
        if here and WHEN == "before":
            die()
        result = await execute(self, query, *args, **kwargs)  # type: ignore[arg-type]
        if here:
            die()
        return result

    async def committed(self: object) -> None:
        packing = MOMENT == "COMMIT" and self.pgconn.transaction_status == 2  # type: ignore[attr-defined]
        if packing and WHEN == "before":
            die()
        await commit(self)  # type: ignore[arg-type]
        if packing:
            die()

    many = psycopg.AsyncCursor.executemany

    async def trapped_many(self: object, query: object, *args: object, **kwargs: object) -> None:
        await many(self, query, *args, **kwargs)  # type: ignore[arg-type]
        if MOMENT in str(query):
            die()

    psycopg.AsyncCursor.execute = trapped  # type: ignore[assignment]
    psycopg.AsyncCursor.executemany = trapped_many  # type: ignore[assignment]
    psycopg.AsyncConnection.commit = committed  # type: ignore[method-assign]


async def main() -> None:
    """Pack."""
    engine = write_engine(StorageConfig(os.environ["VICTIM_URL"]))
    found = await to_pack(engine, datetime.now(UTC), ["log_records"])
    trap()
    for partition in found:
        await pack_partition(engine, partition)


if __name__ == "__main__":
    asyncio.run(main())
