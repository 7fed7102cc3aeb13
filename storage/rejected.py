"""Records that were not stored, as they were sent, with the reason: kept for a while, within bounds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, insert, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.batch import RejectedRecord
from storage.dberrors import is_disconnect, translate
from storage.models import rejected_records as table

# Of one record; what is longer is cut, its length stays.
RECORD_BYTES_MAX = 64 * 1024
_REASON_CHARS_MAX = 1_000
_COMPONENT_CHARS_MAX = 512
# A receiver may keep a quarter of all bounds between two prunings, whatever it is sent.
_SHARE = 4
_INTERVAL_S = 600.0

_PRUNE = text("""
DELETE FROM rejected_records WHERE received_at < now() - make_interval(secs => :age_s) OR id <= (
  SELECT max(id) FROM (
    SELECT id, sum(least(record_bytes, 65536)) OVER newest AS bytes, row_number() OVER newest AS n
    FROM rejected_records WINDOW newest AS (ORDER BY id DESC)
  ) AS kept WHERE bytes > :bytes_max OR n > :records_max)
""")


@dataclass(frozen=True, slots=True)
class RejectedBounds:
    """How many rejected records are kept, over all receivers; 0 bytes: none."""

    bytes_max: int = 64 * 1024 * 1024
    records_max: int = 100_000
    age_s: float = 7 * 86_400


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """One rejected record. ``position``: in its request; ``record`` may be cut, ``record_bytes`` is what was sent."""

    id: int
    received_at: datetime
    signal: str
    component: str
    position: int
    reason: str
    media_type: str
    record_bytes: int
    digest: str | None
    record: bytes = b""


class RejectedRecords:
    """Keeps rejected records in the transaction of their request's good ones, and never at their cost."""

    def __init__(self, bounds: RejectedBounds) -> None:
        self._bounds = bounds
        self._since_s = time.monotonic()
        self._bytes = self._records = 0

    @property
    def on(self) -> bool:
        """Whether any are kept at all."""
        return self._bounds.bytes_max > 0

    async def keep(self, connection: AsyncConnection, records: Sequence[tuple[RejectedRecord, bytes | None]]) -> None:
        """Insert records with the digests of their requests; a failure of this alone is forgotten."""
        rows = [_row(record, digest) for record, digest in records if self._may_keep(record)]
        if not rows:
            return
        try:
            async with connection.begin_nested():
                await connection.execute(insert(table), rows)
        except DBAPIError as error:
            if is_disconnect(error):
                raise

    def _may_keep(self, record: RejectedRecord) -> bool:
        """Count a record against this receiver's share of the bounds; False past it."""
        now_s = time.monotonic()
        if now_s - self._since_s > _INTERVAL_S:
            self._since_s, self._bytes, self._records = now_s, 0, 0
        size = min(len(record.data), RECORD_BYTES_MAX)
        if self._bytes + size > self._bounds.bytes_max // _SHARE or self._records >= self._bounds.records_max // _SHARE:
            return False
        self._bytes += size
        self._records += 1
        return True


def _row(record: RejectedRecord, digest: bytes | None) -> dict[str, object]:
    return {
        "signal": record.signal,
        "component": _text(record.component, _COMPONENT_CHARS_MAX),
        "position": record.position,
        "reason": _text(record.reason, _REASON_CHARS_MAX),
        "media_type": record.media_type,
        "record": record.data[:RECORD_BYTES_MAX],
        "record_bytes": len(record.data),
        "digest": digest,
    }


def _text(value: str, limit: int) -> str:
    """Return what PostgreSQL takes as text."""
    return value[:limit].replace("\0", "�").encode("utf-8", "replace").decode()


async def prune(engine: AsyncEngine, bounds: RejectedBounds) -> None:
    """Remove what is too old, and the oldest of what is too much. Raises StoreError."""
    parameters = {"age_s": bounds.age_s, "bytes_max": bounds.bytes_max, "records_max": bounds.records_max}
    try:
        async with engine.begin() as connection:
            await connection.execute(_PRUNE if bounds.bytes_max else delete(table), parameters)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error


async def newest(engine: AsyncEngine, component: str | None, limit: int) -> list[KeptRecord]:
    """Return the newest rejected records, without their bytes. Raises StoreError."""
    columns = [c for c in table.c if c.name != "record"]
    query = select(*columns).order_by(table.c.id.desc()).limit(limit)
    if component is not None:
        query = query.where(table.c.component == component)
    return await _fetch(engine, query)


async def one(engine: AsyncEngine, identifier: int) -> KeptRecord | None:
    """Return one rejected record, with its bytes. Raises StoreError."""
    found = await _fetch(engine, select(*table.c).where(table.c.id == identifier))
    return found[0] if found else None


async def _fetch(engine: AsyncEngine, query: Select[Any]) -> list[KeptRecord]:
    try:
        async with engine.connect() as connection:
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    except (SQLAlchemyError, OSError) as error:
        raise translate(error, reading=True) from error
    return [KeptRecord(**row | {"digest": row["digest"].hex() if row["digest"] else None}) for row in rows]
