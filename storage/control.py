"""What changes something: every act and its audit entry in one transaction, refused attempts as well."""

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import levels
from storage.audit import audit
from storage.clearing import Eraser
from storage.dberrors import translate
from storage.errors import PermanentStoreError
from storage.level_config import NewOverride
from storage.mapping import ns_of
from storage.models import audit_log
from storage.plain_sql.console import Console
from storage.retention.rules import Rule, Selector
from storage.retention.store import set_rule
from storage.views import AgentState, AuditEntry, JsonObject, LevelOverride

_DONE = "done"
_OUTCOME_CHARS_MAX = 500


class Control:
    """Acts on the store through ``engine`` (``storage.engine.write_engine``). All methods raise StoreError."""

    def __init__(self, engine: AsyncEngine, eraser: Eraser | None = None, console: Console | None = None) -> None:
        self._engine = engine
        self.eraser = eraser
        """What may delete; None: nothing here may."""
        self.console = console
        """What runs SQL that somebody wrote, whose every call is written down here; None: nothing does."""

    async def set_level(self, new: NewOverride, role: str, arguments: JsonObject) -> LevelOverride:
        """Put a level in force for a limited time; the entry of the audit log is part of it."""
        try:
            async with self._engine.begin() as connection:
                override = await levels.set_level(connection, new)
                await audit(connection, new.set_by, role, "logger_set_level", arguments, _DONE)
        except SQLAlchemyError as error:
            raise translate(error) from error
        return override

    async def end_levels(
        self, component: str, logger: str | None, caller: str, role: str, arguments: JsonObject
    ) -> int:
        """End what is in force for a component (and one logger); return how many levels ended."""
        try:
            async with self._engine.begin() as connection:
                ended = await levels.end(connection, component, logger)
                await audit(connection, caller, role, "logger_set_level", arguments, _DONE)
        except SQLAlchemyError as error:
            raise translate(error) from error
        return ended

    async def set_retention(
        self, selector: Selector, rule: Rule | None, reason: str, who: tuple[str, str], arguments: JsonObject
    ) -> bool:
        """Put a rule in force, or end it (None); return whether one was replaced. See ``storage.retention.store``.

        ``who``: caller and role. Raises PermanentStoreError where nothing here may delete; RuleError for one too many.
        """
        if self.eraser is None:
            raise PermanentStoreError("retention cannot be set here: there is no way to delete")
        return await set_rule(self.eraser.engine, selector, rule, reason, who, arguments)

    async def written_down(self, caller: str, role: str, action: str, arguments: JsonObject, outcome: str) -> None:
        """Write down a call. Raises StoreError: then it must not be carried out."""
        try:
            async with self._engine.begin() as connection:
                await audit(connection, caller, role, action, arguments, outcome[:_OUTCOME_CHARS_MAX])
        except SQLAlchemyError as error:
            raise translate(error) from error

    async def refused(self, caller: str, role: str, action: str, arguments: JsonObject, why: str) -> None:
        """Write down a call that was not carried out."""
        await self.written_down(caller, role, action, arguments, f"refused: {why}")

    async def active_levels(self, component: str | None = None) -> list[LevelOverride]:
        """Return what is in force now."""
        return await levels.active(self._engine, component)

    async def running_agents(self, component: str | None = None) -> list[AgentState]:
        """Return the processes that take their levels from here."""
        return await levels.running_agents(self._engine, component)

    async def audit_entries(self, limit: int = 100) -> list[AuditEntry]:
        """Return the newest entries of the audit log, newest first."""
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        try:
            async with self._engine.connect() as connection:
                rows = (await connection.execute(statement)).all()
        except SQLAlchemyError as error:
            raise translate(error) from error
        return [
            AuditEntry(
                id=row.id, at_ns=ns_of(row.at), caller=row.caller, role=row.role, action=row.action,
                arguments=row.arguments, outcome=row.outcome,
            )
            for row in rows
        ]  # fmt: skip
