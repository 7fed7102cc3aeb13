"""The rules and the partitions as they are in PostgreSQL; setting a rule, with its entry of the audit log.

What retention notes of a partition stands in the comment of its table, and goes with it:
``otel-ingest made=1764230400 done=0123456789abcdef:1000 expired``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, exists, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.audit import audit
from storage.dberrors import translate
from storage.models import TABLES, retention_rules
from storage.periods import range_of_bounds, range_of_name
from storage.retention.planning import Held, State
from storage.retention.rules import RULES_MAX, Rule, RuleError, Selector, split
from storage.views import JsonObject

ACTION = "logger_set_retention"
_DONE = "done"
_MADE = re.compile(r"\bmade=(\d+)")
_DONE_NOTE = re.compile(r"\bdone=([0-9a-f]{16}):(\d+)")

_HELD = text("""
SELECT p.relname AS parent, c.oid AS oid, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       greatest(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes,
       i.inhdetachpending AS detaching, coalesce(obj_description(c.oid, 'pg_class'), '') AS note,
       pg_stat_get_tuples_inserted(c.oid) AS inserts
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = current_schema() AND p.relname = ANY(:tables) AND p.relkind = 'p'
UNION ALL
SELECT t.parent, c.oid, c.relname, '', greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid), NULL,
       coalesce(obj_description(c.oid, 'pg_class'), ''), 0
FROM unnest(CAST(:tables AS text[])) AS t (parent)
JOIN pg_class c ON c.relname ~ ('^' || t.parent || '_p[0-9]{8}([0-9]{2}_[0-9]+h)?$') AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND NOT c.relispartition
  AND obj_description(c.oid, 'pg_class') ~ '^otel-ingest .*expired'
""")


_COLD = text("""
SELECT f.table_name, f.since, sum(c.records)::bigint AS records, sum(f.bytes)::bigint AS bytes
FROM cold_files f JOIN (SELECT file_id, sum(records) AS records FROM cold_chunks GROUP BY file_id) c ON c.file_id = f.id
GROUP BY f.table_name, f.since
""")
_ELSEWHERE = ("packed_blocks", "cold_chunks")
_WITHIN = "SELECT EXISTS (SELECT FROM {} WHERE table_name = :table AND last_time >= :since AND first_time < :until)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRule:
    """A rule with who set it, when and why."""

    rule: Rule
    reason: str
    set_by: str
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """What the comment of a partition says: made (seconds since 1970), the split that was carried out, expired."""

    made_s: int | None = None
    digest: str = ""
    inserts: int = 0
    expired: bool = False

    def comment(self) -> str:
        """Return the comment that says it."""
        words = ["otel-ingest"]
        words += [f"made={self.made_s}"] if self.made_s is not None else []
        words += [f"done={self.digest}:{self.inserts}"] if self.digest else []
        return " ".join([*words, *(["expired"] if self.expired else [])])


def note_of(comment: str) -> Note:
    """PURE: return what a comment says; one that is not of ours says nothing."""
    if not comment.startswith("otel-ingest "):
        return Note()
    made, done = _MADE.search(comment), _DONE_NOTE.search(comment)
    return Note(
        int(made[1]) if made else None,
        done[1] if done else "",
        int(done[2]) if done else 0,
        comment.endswith(" expired"),
    )


async def rules(engine: AsyncEngine) -> list[SetRule]:
    """Return the rules in force, by signal, fewest conditions first. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            return await rules_of(connection)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error, reading=True) from error


async def rules_of(connection: AsyncConnection) -> list[SetRule]:
    """``rules`` in a transaction of the caller's. Raises SQLAlchemyError."""
    rows = (await connection.execute(select(retention_rules).order_by(retention_rules.c.id))).all()
    found = [SetRule(rule=_rule(row), reason=row.reason, set_by=row.set_by, set_at=row.set_at) for row in rows]
    return sorted(found, key=lambda s: (s.rule.selector.signal, s.rule.selector.conditions))


async def held(engine: AsyncEngine, known: Sequence[Rule], now: datetime) -> list[Held]:
    """Return the partitions, and what was detached to be dropped. Raises StoreError."""
    try:
        async with engine.connect() as connection:
            return await held_of(connection, known, now)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error, reading=True) from error


async def held_of(connection: AsyncConnection, known: Sequence[Rule], now: datetime) -> list[Held]:
    """``held`` in a transaction of the caller's. Raises SQLAlchemyError."""
    found = []
    cold = await _cold(connection)
    for row in (await connection.execute(_HELD, {"tables": list(TABLES)})).all():
        partition = _held(row)
        if partition is not None:
            records, size = cold.get((partition.table, partition.bounds.since), (0, 0))
            partition = replace(partition, cold_records=records, cold_bytes=size)
            found.append(await _with_emptiness(connection, partition, known, now))
    return found


async def _cold(connection: AsyncConnection) -> dict[tuple[str, datetime], tuple[int, int]]:
    """Return records and bytes in cold files by table and the beginning of their partition."""
    if not await _is_there(connection, "cold_chunks"):
        return {}
    rows = (await connection.execute(_COLD)).all()
    return {(row.table_name, row.since): (int(row.records), int(row.bytes)) for row in rows}


async def _is_there(connection: AsyncConnection, table: str) -> bool:
    """Whether the schema has a table already: retention is carried out while it is upgraded, too."""
    return (await connection.execute(text("SELECT to_regclass(:name)"), {"name": table})).scalar() is not None


async def set_rule(
    engine: AsyncEngine, selector: Selector, rule: Rule | None, reason: str, who: tuple[str, str], given: JsonObject
) -> bool:
    """Put a rule in force in place of the one about the same, or end that (None); return whether there was one.

    ``who``: caller and role, for the audit log, whose entry is part of it. For otel_ingest_eraser or the owner.
    Raises StoreError; RuleError past RULES_MAX.
    """
    c = retention_rules.c
    same = [
        getattr(c, name).is_not_distinct_from(getattr(selector, name))
        for name in ("signal", "component", "severity_min", "severity_max")
    ]
    try:
        async with engine.begin() as connection:
            await connection.execute(text("LOCK TABLE retention_rules IN SHARE ROW EXCLUSIVE MODE"))
            was = bool((await connection.execute(delete(retention_rules).where(*same))).rowcount)
            if rule is not None:
                if len(await rules_of(connection)) >= RULES_MAX:
                    raise RuleError(f"there are {RULES_MAX} rules already; unset one first")
                values = {
                    name: getattr(selector, name) for name in ("signal", "component", "severity_min", "severity_max")
                }
                row = values | {"keep_s": rule.keep_s, "reason": reason, "set_by": who[0]}
                await connection.execute(insert(retention_rules).values(row).inline())
            await audit(connection, *who, ACTION, given, _DONE)
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    return was


def _rule(row: Any) -> Rule:
    selector = Selector(
        signal=row.signal, component=row.component, severity_min=row.severity_min, severity_max=row.severity_max
    )
    return Rule(selector=selector, keep_s=row.keep_s)


def _held(row: Any) -> Held | None:
    bounds = range_of_bounds(row.bounds) if row.bounds else range_of_name(row.name)
    if bounds is None:
        return None
    note = note_of(row.note)
    state: State = "expired" if row.detaching is None else "detaching" if row.detaching else "attached"
    return Held(
        table=row.parent,
        name=row.name,
        bounds=bounds,
        rows=row.rows,
        bytes=row.bytes,
        state=state,
        made_at=None if note.made_s is None else datetime.fromtimestamp(note.made_s, UTC),
        done=note.digest if note.inserts == row.inserts else "",
    )


async def _with_emptiness(connection: AsyncConnection, partition: Held, known: Sequence[Rule], now: datetime) -> Held:
    """Look for a row where the answer decides: what outlived the signal's own rule may hold nothing any more.

    Through the parent, for rights are on it.
    """
    at_age = split(known, partition.signal, (now - partition.age_from).total_seconds())
    if partition.state != "attached" or not any(rule.selector.conditions == 0 for rule in at_age.over):
        return partition
    table = TABLES[partition.table]
    here = table.c.time >= partition.bounds.since, table.c.time < partition.bounds.until
    found = (await connection.execute(select(exists().where(*here)))).scalar_one()
    if found or await _holds_packed(connection, partition):
        return partition
    return replace(partition, empty=True)


async def _holds_packed(connection: AsyncConnection, partition: Held) -> bool:
    """Whether records of the partition are packed or cold, where any can be: it has no rows then, and is not empty."""
    edges = {"table": partition.table, "since": partition.bounds.since, "until": partition.bounds.until}
    for table in _ELSEWHERE:
        there = await _is_there(connection, table)
        if there and (await connection.execute(text(_WITHIN.format(table)), edges)).scalar_one():
            return True
    return False
