"""Packs all that can be packed in VICTIM_URL, and kills itself with SIGKILL before or after a statement of a kind.

python -m tests.packer_victim MOMENT before|after|COMMIT: MOMENT is the beginning of the statement, or COMMIT; COMMIT is
right after the one that follows the statement. With VICTIM_COLD_URL records go cold there; MOMENT can be FILE begin or
FILE finish then.
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

import psycopg

from storage.cold.location import Location
from storage.cold.upkeep import freeze, to_freeze
from storage.config import StorageConfig
from storage.engine import write_engine
from storage.packing.packer import pack_partition, to_pack

MOMENT, WHEN = sys.argv[1:]


def die() -> None:
    """End here and now."""
    os.kill(os.getpid(), signal.SIGKILL)


_state = {"passed": False}


def reached() -> None:
    """End here, or at the COMMIT that follows."""
    if WHEN != "COMMIT":
        die()
    _state["passed"] = True


def trap_files() -> None:
    """Have what makes files look whether it is the moment."""
    for name in ("begin", "finish"):
        whole = getattr(Location, name)

        def trapped(self: Location, *args: Any, whole: Any = whole, name: str = name) -> Any:
            done = whole(self, *args)
            if f"FILE {name}" == MOMENT:
                die()
            return done

        setattr(Location, name, trapped)


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
            reached()
        return result

    async def committed(self: object) -> None:
        packing = MOMENT == "COMMIT" and self.pgconn.transaction_status == 2  # type: ignore[attr-defined]
        if packing and WHEN == "before":
            die()
        await commit(self)  # type: ignore[arg-type]
        if packing or _state["passed"]:
            die()

    many = psycopg.AsyncCursor.executemany

    async def trapped_many(self: object, query: object, *args: object, **kwargs: object) -> None:
        await many(self, query, *args, **kwargs)  # type: ignore[arg-type]
        if MOMENT in str(query):
            reached()

    psycopg.AsyncCursor.execute = trapped  # type: ignore[assignment]
    psycopg.AsyncCursor.executemany = trapped_many  # type: ignore[assignment]
    psycopg.AsyncConnection.commit = committed  # type: ignore[method-assign]


async def main() -> None:
    """Pack, or let go cold."""
    cold = os.environ.get("VICTIM_COLD_URL", "")
    engine = write_engine(StorageConfig(os.environ["VICTIM_URL"], cold_url=cold))
    find = to_freeze if cold else to_pack
    found = await find(engine, datetime.now(UTC), ["log_records"])
    trap()
    trap_files()
    if cold:
        async for _ in freeze(engine, cold, found):
            pass
        return
    for partition in found:
        await pack_partition(engine, partition)


if __name__ == "__main__":
    asyncio.run(main())
