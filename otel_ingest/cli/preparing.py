"""What must be there before rows can be stored: PostgreSQL, its schema, partitions, the first tokens."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import structlog

from otel_ingest.cli import access
from otel_ingest.cli.access import Access
from otel_ingest.cli.common import rejected_bounds, windows
from otel_ingest.cli.pack_process import PackProcess
from otel_ingest.config import Settings
from otel_ingest.ending import end
from storage import embedded, levels, maintenance, migrate, probe, roles, rollups, tokens
from storage.engine import AsyncEngine, write_engine
from storage.errors import RetryableStoreError, StoreError
from storage.turn import Turn

_log = structlog.get_logger(__name__)

# PostgreSQL may be behind a network that says nothing.
_PREPARE_TIMEOUT_S = 20.0
# With a spool, exports are taken without PostgreSQL: their senders, who wait for 10 s in all, need not wait for it.
_START_PATIENCE_S = 3.0
_LOOK_EVERY_S = 0.5
# Of one upkeep: the partitions of the next days must not wait for long. The rest is done the next time.
_UPKEEP_S_MAX = 60.0
ROLES = tuple(roles.TABLES_OF)


class Preparation:
    """Makes ready what ``access`` leads to, once; while PostgreSQL is away it can be tried again."""

    def __init__(self, settings: Settings, access: Access, engine: AsyncEngine) -> None:
        """Take the way to PostgreSQL, and the engine of the write side."""
        self._settings = settings
        self._access = access
        self._engine = engine
        self._done = False
        self._turn = Turn(access.writing(settings))
        self._packing = PackProcess(settings, access)
        self.read_token = _token_file(settings, "read")
        self.ingest_token_exists = True

    async def begin(self) -> None:
        """Prepare for a server that can begin without: wait briefly, but on the first start, when it has no tokens yet.

        Raises StoreError.
        """
        await self.prepare(_START_PATIENCE_S if self.read_token else _PREPARE_TIMEOUT_S)

    async def prepare(self, patience_s: float = _PREPARE_TIMEOUT_S) -> None:
        """Upgrade the schema, see to the roles, make partitions and first tokens. Raises StoreError.

        Without the owner's URL the schema must be up to date already: ``otel-ingest migrate`` is another's step then.
        """
        try:
            async with asyncio.timeout(patience_s):
                if self._access.owner is None:
                    await migrate.require_head(self._access.write)
                    await self.maintain(datetime.now(UTC))
                else:
                    await self._prepare_as(self._access.owner)
        except TimeoutError as error:
            raise RetryableStoreError(f"PostgreSQL did not answer for {patience_s:.0f} s") from error
        self._done = True

    async def _prepare_as(self, owner: str) -> None:
        await migrate.upgrade(owner)
        if not self._settings.is_external:
            passwords = {role: embedded.role_password(self._settings.data_dir, role) for role in ROLES}
            await roles.grant(owner, passwords)
        await self.maintain(datetime.now(UTC))
        engine = write_engine(self._access.owning(self._settings))
        try:
            self.read_token = await _first_tokens(self._settings, engine)
            self.ingest_token_exists = await _ingest_token_exists(engine)
        finally:
            await engine.dispose()

    async def maintain(self, now: datetime) -> None:
        """Look after the store: partitions of the next days, digests and levels that are over. Raises StoreError."""
        settings = self._settings
        ahead, bounds = settings.partitions_ahead_days, rejected_bounds(settings)
        await maintenance.maintain(self._engine, now, ahead, windows(settings), bounds)
        await levels.forget(self._engine)

    async def upkeep(self, now: datetime) -> None:
        """Do ``maintain`` when it is this receiver's turn, of all that use the database. Raises StoreError."""
        if await self._turn.is_mine():
            await self.maintain(now)
            await self._see_to_partitions(now)
            self._packing.begin()

    async def _see_to_partitions(self, now: datetime) -> None:
        """Let go what is past its retention and index what is closed, where this receiver has the owner's right.

        Raises StoreError.
        """
        if self._access.owner is None:
            return
        engine = write_engine(self._access.owning(self._settings))
        try:
            done = await maintenance.apply(engine, now, _UPKEEP_S_MAX)
        finally:
            await engine.dispose()
        for each in done:
            said = {"step": each.step.kind, "partition": each.step.name, "rows": each.rows, "why": each.step.reason}
            if each.failed:
                _log.warning("a step for a partition could not be done, trying again", **said, failed=each.failed)
            else:
                _log.info("a step for a partition was done", **said)

    async def compact(self) -> None:
        """Add up the counts of the last moments when it is this receiver's turn. Raises StoreError."""
        if await self._turn.is_mine():
            await rollups.compact(self._engine)

    async def close(self) -> None:
        """Let another receiver have the turn."""
        await self._packing.stop()
        await self._turn.give_up()

    async def probe(self) -> None:
        """Raise StoreError unless PostgreSQL takes writes and all is prepared."""
        if not self._done:
            await self.prepare()
        await probe.takes_writes(self._engine)


async def open_access(settings: Settings, stack: AsyncExitStack) -> Access:
    """Return the way to the configured PostgreSQL, or start the embedded one and keep it running. Raises StoreError."""
    if settings.is_external:
        return await access.external(settings)
    server = await embedded.start(settings.data_dir)
    stack.push_async_callback(server.stop)
    keeper = asyncio.create_task(_keep_running(server.revive))
    stack.push_async_callback(end, keeper)
    urls = {role: roles.url_as(server.url, role, embedded.role_password(settings.data_dir, role)) for role in ROLES}
    return Access(server.url, urls[roles.WRITER], urls[roles.READER], erase=urls[roles.ERASER], sql=urls[roles.SQL])


async def _keep_running(revive: Callable[[], Awaitable[bool]]) -> None:
    """Start the embedded PostgreSQL again whenever it ended without being asked to."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            if await revive():
                _log.warning("the embedded PostgreSQL had ended; it runs again")
        except StoreError as error:
            _log.error("the embedded PostgreSQL had ended and does not start", reason=str(error))


async def _first_tokens(settings: Settings, engine: AsyncEngine) -> str:
    """Make the admin and the read token of the data directory where there is no valid one; return the latter."""
    (settings.data_dir / "tokens").mkdir(mode=0o700, exist_ok=True)
    texts = {}
    for role in ("admin", "read"):
        text = _token_file(settings, role)
        if not text or await tokens.verify(engine, text) is None:
            text, _ = await tokens.create(engine, f"first {role}", role)
            _write_private(settings.data_dir / "tokens" / role, text)
        texts[role] = text
    return texts["read"]


def _token_file(settings: Settings, role: str) -> str:
    """Return the token of the data directory for ``role``; empty when there is none."""
    path = settings.data_dir / "tokens" / role
    return path.read_text().strip() if path.exists() else ""


async def _ingest_token_exists(engine: AsyncEngine) -> bool:
    """Whether a token of the role ingest itself is valid: senders should not have an admin's."""
    now = datetime.now(UTC)
    return any(
        t.role == "ingest" and t.revoked_at is None and (t.expires_at is None or t.expires_at > now)
        for t in await tokens.list_tokens(engine)
    )


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 that never existed with another mode."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
