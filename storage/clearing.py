"""Deletion on demand, in two steps: a preview counts exactly, and what its confirmation stands for is deleted later.

What a preview is about ends at its watermark: the oldest transaction that was in progress. Every row of a transaction
before it was visible then or never will be, so the preview and the deletion see the same rows without a lock, and what
is stored meanwhile stays. A confirmation is a random text whose SHA-256 is in ``clear_previews``: any process of any
receiver takes it, once, from the same caller, for the same question, for five minutes by PostgreSQL's clock.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    Text,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.audit import audit
from storage.dberrors import translate
from storage.deletion import delete_rows
from storage.filters import timestamp
from storage.mapping import ns_of
from storage.models import TABLES, clear_previews, log_records
from storage.packing.connection import reading_connection
from storage.views import JsonObject

ACTION = "logger_clear"
SIGNALS = {"logs": "log_records", "spans": "spans", "metrics": "metric_points"}
CONFIRM_S = 300
"""Seconds for which a confirmation counts: enough to read a preview, too little to forget what it said."""
ROWS_A_TRANSACTION = 5_000
_PREVIEWS_KEPT = text("interval '1 day'")
_XIDS = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearQuery:
    """What to delete: every condition that is set must hold. Times are ns since 1970, whole microseconds count."""

    signals: tuple[str, ...]
    component: str | None = None
    trace_id: str | None = None
    text: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """Exact numbers by signal, the edges of what they count (ns), and the text that confirms them; None: nothing to."""

    counts: Mapping[str, int]
    oldest_ns: int | None
    newest_ns: int | None
    confirm: str | None


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was deleted, by signal, of what the preview counted; ``whole``: the time was enough for all of it."""

    deleted: Mapping[str, int]
    previewed: Mapping[str, int]
    whole: bool


class Eraser:
    """Deletes through ``engine`` (``storage.engine.erase_engine``). All methods raise StoreError."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def preview(self, query: ClearQuery, who: tuple[str, str], asked: JsonObject, given: JsonObject) -> Preview:
        """Count what ``query`` would delete now and make a confirmation for it; the entry of the audit log is part.

        ``who``: caller and role; ``asked``: the question as it was asked, ``given``: all arguments, for the audit log.
        """
        try:
            async with reading_connection(self.engine) as connection, connection.begin():
                return await _preview(connection, query, who, asked, given)
        except (SQLAlchemyError, OSError) as error:
            raise translate(error) from error

    async def clear(
        self, confirm: str, who: tuple[str, str], asked: JsonObject, given: JsonObject, seconds_max: float
    ) -> Cleared | None:
        """Delete what the preview of ``confirm`` counted; None: it does not count for this caller and question.

        In transactions of some thousand rows. Past ``seconds_max`` it ends, and says so. What was done is written down
        before the first row goes and after the last.
        """
        try:
            async with self.engine.begin() as connection:
                row = await _take(connection, confirm, who[0], asked)
                if row is None:
                    return None
                expected = sum(row.counts.values())
                await audit(connection, *who, ACTION, given, f"confirmed: deleting {expected} rows that were previewed")
            return await self._delete_all(row, who, given, time.monotonic() + seconds_max)
        except (SQLAlchemyError, OSError) as error:
            raise translate(error) from error

    async def _delete_all(self, row: Any, who: tuple[str, str], given: JsonObject, deadline: float) -> Cleared:
        query = ClearQuery(**row.query | {"signals": tuple(row.query["signals"])})
        deleted = dict.fromkeys(query.signals, 0)
        whole = False
        try:
            for signal in query.signals:
                deleted[signal] = await self._delete(signal, query, row.watermark, deleted, deadline)
            whole = time.monotonic() < deadline or deleted == dict(row.counts)
        finally:
            said = ", ".join(f"{count} {signal}" for signal, count in deleted.items())
            outcome = f"{'done' if whole else 'stopped'}: deleted {said} of {sum(row.counts.values())} previewed"
            async with self.engine.begin() as connection:
                await audit(connection, *who, ACTION, given, outcome)
        return Cleared(deleted, row.counts, whole)

    async def _delete(
        self, signal: str, query: ClearQuery, watermark: int, deleted: dict[str, int], deadline: float
    ) -> int:
        """Delete of one table from its oldest row on, a slice of time a transaction; return how many rows."""
        table = TABLES[SIGNALS[signal]]
        conditions = [*_conditions(table, query), _before(watermark)]
        start: datetime | None = None
        while time.monotonic() < deadline:
            later = [*conditions, *([table.c.time >= start] if start is not None else [])]
            async with self.engine.begin() as connection:
                end = (await connection.execute(_slice_end(table, later))).scalar_one_or_none()
                slice_ = [*later, *([table.c.time <= end] if end is not None else [])]
                count = await delete_rows(connection, table, slice_, ROWS_A_TRANSACTION)
            deleted[signal] += count
            # More rows of one moment than a transaction takes: the same slice again.
            if count < ROWS_A_TRANSACTION:
                if end is None:
                    break
                start = end
        return deleted[signal]


def _slice_end(table: Table, conditions: Sequence[ColumnElement[bool]]) -> Any:
    key = select(table.c.time).where(*conditions).order_by(table.c.time)
    return key.offset(ROWS_A_TRANSACTION - 1).limit(1)


def _conditions(table: Table, query: ClearQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.component is not None:
        conditions.append(table.c.component == query.component)
    if query.trace_id is not None:
        conditions.append(table.c.trace_id == UUID(query.trace_id))
    if query.text is not None:
        conditions.append(log_records.c.body.icontains(query.text, autoescape=True))
    if query.since_ns is not None:
        conditions.append(table.c.time >= timestamp(query.since_ns // 1000))
    if query.until_ns is not None:
        conditions.append(table.c.time < timestamp(query.until_ns // 1000))
    return conditions


def _before(watermark: int) -> ColumnElement[bool]:
    """Return whether a row is of a transaction before the watermark.

    A row shows the low 32 bits of its transaction's number. Only numbers from the watermark to the present one are of
    rows that came later; all others, however old, are of rows that were there.
    """
    number = cast(cast(literal_column("xmin"), Text), BigInteger)
    now = select(cast(cast(func.pg_snapshot_xmax(func.pg_current_snapshot()), Text), BigInteger)).scalar_subquery()
    return (number - watermark % _XIDS + _XIDS) % _XIDS >= now - literal(watermark, BigInteger)


async def _preview(
    connection: AsyncConnection, query: ClearQuery, who: tuple[str, str], asked: JsonObject, given: JsonObject
) -> Preview:
    oldest = cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger)
    watermark = (await connection.execute(select(oldest))).scalar_one()
    counts, times = {}, []
    for signal in query.signals:
        table = TABLES[SIGNALS[signal]]
        what = select(func.count(), func.min(table.c.time), func.max(table.c.time)).select_from(table)
        count, first, last = (
            await connection.execute(what.where(*_conditions(table, query), _before(watermark)))
        ).one()
        counts[signal] = int(count)
        times += [ns_of(moment) for moment in (first, last) if moment is not None]
    confirm = None
    if any(counts.values()):
        confirm = await _remember(connection, query, watermark, counts, who[0], asked)
    said = ", ".join(f"{count} {signal}" for signal, count in counts.items())
    await audit(connection, *who, ACTION, given, f"previewed: {said}")
    return Preview(counts, min(times, default=None), max(times, default=None), confirm)


async def _remember(
    connection: AsyncConnection,
    query: ClearQuery,
    watermark: int,
    counts: Mapping[str, int],
    caller: str,
    asked: JsonObject,
) -> str:
    """Store a preview; return its confirmation, which is nowhere else from now on."""
    confirm = f"c1.{secrets.token_urlsafe(24)}"
    row = {
        "confirm_hash": _hash(confirm),
        "caller": caller,
        "asked": asked,
        "query": asdict(query),
        "watermark": watermark,
        "counts": dict(counts),
        "expires_at": func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, CONFIRM_S),
    }
    await connection.execute(delete(clear_previews).where(clear_previews.c.expires_at < func.now() - _PREVIEWS_KEPT))
    await connection.execute(insert(clear_previews).values(row))
    return confirm


async def _take(connection: AsyncConnection, confirm: str, caller: str, asked: JsonObject) -> Any:
    """Mark a confirmation as used and return its preview; None where it does not count."""
    table = clear_previews.c
    counts_now = (
        table.confirm_hash == _hash(confirm),
        table.caller == caller,
        table.asked == asked,
        table.used_at.is_(None),
        table.expires_at > func.clock_timestamp(),
    )
    statement = update(clear_previews).where(*counts_now).values(used_at=func.clock_timestamp())
    return (await connection.execute(statement.returning(table.query, table.watermark, table.counts))).one_or_none()


def _hash(confirm: str) -> bytes:
    return hashlib.sha256(confirm.encode("utf-8", "surrogatepass")).digest()
