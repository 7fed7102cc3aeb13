"""What `doctor` asks PostgreSQL: its version, its clock, how durable and how dear a COMMIT is, how many locks fit."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.dberrors import translate

VERSION_MIN, VERSION_MAX = 15, 18
# Locks of one partition that is read or written: itself and its three indexes.
_LOCKS_A_PARTITION = 4

_ASK = text("""
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
       clock_timestamp() AS now, current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,
       (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS commit,
       current_setting('max_locks_per_transaction')::bigint
         * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) AS locks,
       (SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM pg_inherits GROUP BY inhparent) AS c) AS partitions,
       current_setting('wal_compression') AS compression, pg_is_in_recovery() AS standby, current_user AS who,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server as it says it is.

    ``commit``: its own synchronous_commit; ``compression``: wal_compression; ``locks``: how many have room.
    """

    version: str
    major: int
    now: datetime
    fsync: str
    pages: str
    commit: str
    compression: str
    locks: int
    partitions: int
    standby: bool
    who: str
    superuser: bool

    def durability(self) -> list[str]:
        """Return what an acknowledgement means less than it should, in sentences; empty: it is durable."""
        said = []
        if self.fsync == "off":
            said.append("fsync is off: a crash of the machine loses acknowledged records, and may break the database")
        if self.pages == "off":
            said.append("full_page_writes is off: a crash of the machine may leave pages half written")
        if self.commit == "off":
            said.append("synchronous_commit is off on the server; our connections turn it on")
        return said

    def slow(self) -> str | None:
        """Return a sentence where storing costs more than it need (docs/adr/034)."""
        if self.compression not in {"pglz", "on"}:
            return None
        return (
            "wal_compression is pglz, which took a quarter of PostgreSQL's CPU where many records were stored: set it "
            "to lz4, where PostgreSQL has that, or off"
        )

    def locks_short(self) -> str | None:
        """Return a sentence where one statement over all partitions may not find room for its locks."""
        needed = self.partitions * _LOCKS_A_PARTITION
        if needed <= self.locks:
            return None
        return (
            f"a read without bounds in time locks {needed} objects ({self.partitions} partitions), there is room for "
            f"{self.locks}: raise max_locks_per_transaction"
        )


async def ask(engine: AsyncEngine) -> ServerFacts:
    """Return what the server says of itself. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            row = (await connection.execute(_ASK)).one()
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    return ServerFacts(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
