"""Whether a transaction whose COMMIT had no answer was committed, however long ago that was."""

import re
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.dberrors import translate

TransactionOutcome = Literal["committed", "aborted", "in progress", "unknown"]

# Where transactions are counted: the cluster, and the timeline it writes on (a promoted standby begins a new one; taken
# from the WAL being written, for pg_control says the old one until its next checkpoint), since its last crash: a crash
# loses transactions whose WAL was not written, whole, and their numbers are given to others then. PostgreSQL discards
# its statistics in a crash, and nothing else that everybody may see tells of one whose postmaster survived.
_PLACE = text("""
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                      left(pg_walfile_name(pg_current_wal_lsn()), 8),
                      (SELECT CAST(extract(epoch FROM coalesce(stats_reset, '1970-01-01')) * 1000000 AS bigint)
                       FROM pg_stat_bgwriter))
""")
_NOW_AT = text("SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text)")
_STATUS = text("SELECT pg_xact_status(CAST(:xid AS xid8))")
_REFERENCE = re.compile(r"(\d+/[0-9A-F]{8}/\d+)/(\d+)")
_PLACE_KEY = "otel_ingest_place"


async def reference(connection: AsyncConnection, xid: int) -> str:
    """Return what names a transaction for good, for example ``7576345123/00000001/1795508536000000/761``.

    The place is asked for once a connection: a server that is promoted has ended those of its time as a standby.
    """
    place = connection.info.get(_PLACE_KEY)
    if place is None:
        place = connection.info[_PLACE_KEY] = (await connection.execute(_PLACE)).scalar_one()
    return f"{place}/{xid}"


def xmin_of(reference: str) -> int:
    """PURE: return what the system column ``xmin`` of rows says that the transaction inserted."""
    return int(reference.rpartition("/")[2]) & 0xFFFFFFFF


async def outcome_of(engine: AsyncEngine, reference: str) -> TransactionOutcome:
    """Return what became of the transaction that ``OutcomeUnknown.transaction`` names.

    It holds after restarts of PostgreSQL, for as long as PostgreSQL keeps the status of transactions: 200 million of
    them by default (autovacuum_freeze_max_age), months to years. "in progress": its session has not ended yet; ask
    again. "unknown": too long ago, or PostgreSQL crashed since (the number may be another transaction's now), or it is
    another cluster, or was promoted (its standby may have counted differently); whether the rows are there must be seen
    otherwise, by the request's key within its window, or they are stored again.
    Raises StoreError.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return "unknown"
    try:
        async with engine.connect() as connection:
            if (await connection.execute(_PLACE)).scalar_one() != match[1]:
                return "unknown"
            if int(match[2]) >= int((await connection.execute(_NOW_AT)).scalar_one()):
                return "unknown"
            status = (await connection.execute(_STATUS, {"xid": match[2]})).scalar_one()
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    outcomes: dict[str | None, TransactionOutcome] = {
        "committed": "committed", "aborted": "aborted", "in progress": "in progress",
    }  # fmt: skip
    return outcomes.get(status, "unknown")
