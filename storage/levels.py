"""Levels in force and the processes that take them (docs/opamp.md): the two tables.

The clock is PostgreSQL's: several receivers and tool servers must agree on what is over.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, insert, literal, or_, select, update
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


async def note_agent(engine: AsyncEngine, report: AgentReport) -> AgentState | None:
    """Write down what an agent said; return all that is known of it, None when it never described itself.

    A poll that brings nothing new is one read; it is written down every 15 s. Raises StoreError.
    """
    key = UUID(bytes=report.instance_uid)
    try:
        async with engine.begin() as connection:
            if report.component is not None:
                await connection.execute(_introduce(key, report))
            changes = _changes(report)
            which = [agents.c.instance_uid == key]
            if not changes:
                stale = agents.c.last_seen < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _TOUCH_S)
                which.append(or_(stale, agents.c.ended_at.isnot(None)))
            await connection.execute(update(agents).where(*which).values(_alive(report) | changes))
            row = (await connection.execute(select(agents).where(agents.c.instance_uid == key))).first()
    except SQLAlchemyError as error:
        raise translate(error) from error
    return _agent(row) if row is not None else None


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


def _introduce(key: UUID, report: AgentReport) -> Any:
    """Return the statement that stores who an agent is, whether it is new or not."""
    who = {"component": report.component, "description": report.description or {}}
    row = {"instance_uid": key, "config_status": 0, "config_error": "", **who}
    return upsert(agents).values(row).on_conflict_do_update(index_elements=["instance_uid"], set_=who)


def _alive(report: AgentReport) -> dict[str, Any]:
    return {"last_seen": func.now(), "ended_at": func.now() if report.ends else literal(None)}


def _changes(report: AgentReport) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if report.config_hash is not None:
        changes = {
            "config_hash": report.config_hash,
            "config_status": report.config_status,
            "config_error": report.config_error,
        }
    if report.effective is not None:
        changes["effective"] = report.effective
    if report.ends or report.component is not None:
        changes["last_seen"] = func.now()
    return changes


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
