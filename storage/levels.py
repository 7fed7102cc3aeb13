"""Levels in force and the processes that take them (docs/opamp.md): the two tables.

The clock is PostgreSQL's: several receivers and tool servers must agree on what is over.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Select, bindparam, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.dberrors import translate
from storage.level_config import AgentReport, NewOverride
from storage.mapping import ns_of
from storage.models import agents, level_overrides
from storage.views import AgentState, LevelOverride

# Agents poll every 30 s; three polls missed, and a process counts as gone.
AGENT_SEEN_S = 90
# How often a poll that brings nothing new is written down.
_TOUCH_S = 15
# Kept for who asks what was in force; the audit log keeps the acts themselves.
_KEPT_DAYS = 30
_STATUSES = {0: "unset", 1: "applied", 2: "applying", 3: "failed"}


async def active(engine: AsyncEngine, component: str | None = None) -> list[LevelOverride]:
    """Return what is in force now, oldest first. Raises StoreError."""
    statement = select(level_overrides).where(_in_force()).order_by(level_overrides.c.id)
    if component is not None:
        statement = statement.where(level_overrides.c.component == component)
    return [_override(row) for row in await _rows(engine, statement)]


async def set_level(connection: AsyncConnection, new: NewOverride) -> LevelOverride:
    """Put a level in force in place of the one for the same loggers; it ends by itself. Raises SQLAlchemyError."""
    await end(connection, new.component, new.logger)
    values = {
        "component": new.component,
        "logger": new.logger,
        "level": new.level,
        "reason": new.reason,
        "set_by": new.set_by,
        "expires_at": func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, new.ttl_s),
    }
    return _override(
        (await connection.execute(insert(level_overrides).values(values).returning(level_overrides))).one()
    )


async def end(connection: AsyncConnection, component: str, logger: str | None) -> int:
    """End what is in force for a component (and one logger); return how many. Raises SQLAlchemyError."""
    which = [level_overrides.c.component == component, _in_force()]
    if logger is not None:
        which.append(level_overrides.c.logger == logger)
    result = await connection.execute(update(level_overrides).where(*which).values(ended_at=func.clock_timestamp()))
    return int(result.rowcount)


async def note_agents(engine: AsyncEngine, reports: Sequence[AgentReport]) -> list[AgentState | None]:
    """Write down what agents said, each of them once; return all that is known of each, None for who never said who.

    All in one transaction of few statements: a thousand agents that were told of one level answer at the same moment. A
    poll that brings nothing new is a read; it is written down every 15 s. Raises StoreError.
    """
    ordered = sorted(reports, key=lambda report: report.instance_uid)  # two receivers must not lock in two orders
    keys = [UUID(bytes=report.instance_uid) for report in ordered]
    try:
        async with engine.begin() as connection:
            if rows := [_introduction(r) for r in ordered if r.component is not None]:
                await connection.execute(_introduce(), rows)
            for names, changed in groupby(sorted(ordered, key=_kind), key=_kind):
                if any(names):
                    rows = [{"key": UUID(bytes=r.instance_uid), **_changes(r)} for r in changed]
                    await connection.execute(_update(rows[0]), rows)
            quiet = [UUID(bytes=r.instance_uid) for r in ordered if not any(_kind(r))]
            if quiet:
                await connection.execute(_touch(quiet))
            found = (await connection.execute(select(agents).where(agents.c.instance_uid.in_(keys)))).all()
    except SQLAlchemyError as error:
        raise translate(error) from error
    known = {row.instance_uid: _agent(row) for row in found}
    return [known.get(UUID(bytes=report.instance_uid)) for report in reports]


async def running_agents(engine: AsyncEngine, component: str | None = None) -> list[AgentState]:
    """Return the processes that were heard of within 90 s and did not say that they end. Raises StoreError."""
    alive = agents.c.last_seen > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, AGENT_SEEN_S)
    statement = select(agents).where(alive, agents.c.ended_at.is_(None))
    if component is not None:
        statement = statement.where(agents.c.component == component)
    return [_agent(row) for row in await _rows(engine, statement.order_by(agents.c.component, agents.c.first_seen))]


async def forget(engine: AsyncEngine) -> None:
    """Drop processes and levels that are over for 30 days. Raises StoreError."""
    edge = func.now() - func.make_interval(0, 0, 0, _KEPT_DAYS)
    try:
        async with engine.begin() as connection:
            await connection.execute(delete(agents).where(agents.c.last_seen < edge))
            await connection.execute(delete(level_overrides).where(level_overrides.c.expires_at < edge))
    except SQLAlchemyError as error:
        raise translate(error) from error


def _in_force() -> ColumnElement[bool]:
    return level_overrides.c.ended_at.is_(None) & (level_overrides.c.expires_at > func.clock_timestamp())


async def _rows(engine: AsyncEngine, statement: Select[Any]) -> Sequence[Any]:
    try:
        async with engine.connect() as connection:
            rows: Sequence[Any] = (await connection.execute(statement)).all()
    except SQLAlchemyError as error:
        raise translate(error) from error
    return rows


def _introduction(report: AgentReport) -> dict[str, Any]:
    who = {"component": report.component, "description": report.description or {}}
    return {"instance_uid": UUID(bytes=report.instance_uid), "config_status": 0, "config_error": "", **who}


def _introduce() -> Any:
    """Return the statement that stores who an agent is, whether it is new or not."""
    new = upsert(agents)
    who = {"component": new.excluded.component, "description": new.excluded.description}
    return new.on_conflict_do_update(index_elements=["instance_uid"], set_=who)


def _kind(report: AgentReport) -> tuple[bool, bool, bool, bool]:
    """Return which columns a report changes: what ``_changes`` depends on; none of them: it is a poll and no more."""
    here = report.ends or report.component is not None
    return report.config_hash is not None, report.effective is not None, here, report.ends


def _changes(report: AgentReport) -> dict[str, Any]:
    changes: dict[str, Any] = {"ends": report.ends}
    if report.config_hash is not None:
        changes |= {
            "hash": report.config_hash,
            "status": report.config_status,
            "error": report.config_error,
        }
    if report.effective is not None:
        changes["loggers"] = report.effective
    return changes


def _update(row: Mapping[str, Any]) -> Any:
    """Return the statement for rows of one kind."""
    columns = {"hash": "config_hash", "status": "config_status", "error": "config_error", "loggers": "effective"}
    values = {columns[name]: bindparam(name, type_=agents.c[columns[name]].type) for name in row if name in columns}
    ended = case((bindparam("ends", type_=Boolean), func.now()), else_=None)
    return (
        update(agents)
        .where(agents.c.instance_uid == bindparam("key"))
        .values(last_seen=func.now(), ended_at=ended, **values)
    )


def _touch(keys: Sequence[UUID]) -> Any:
    """Return the statement that notes who is still there, now and then, or again."""
    stale = agents.c.last_seen < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _TOUCH_S)
    which = (agents.c.instance_uid.in_(keys), or_(stale, agents.c.ended_at.isnot(None)))
    return update(agents).where(*which).values(last_seen=func.now(), ended_at=None)


def _override(row: Any) -> LevelOverride:
    return LevelOverride(
        id=row.id,
        component=row.component,
        logger=row.logger,
        level=row.level,
        reason=row.reason,
        set_by=row.set_by,
        set_at_ns=ns_of(row.set_at),
        expires_at_ns=ns_of(row.expires_at),
    )


def _agent(row: Any) -> AgentState:
    return AgentState(
        instance_uid=row.instance_uid.hex,
        component=row.component,
        description=row.description,
        last_seen_ns=ns_of(row.last_seen),
        config_hash=row.config_hash or b"",
        config_status=_STATUSES.get(row.config_status, "unset"),
        config_error=row.config_error,
        effective=row.effective,
    )
