"""Packing and going cold by themselves: `partitions pack` and `cold` as processes, so that receiving loses no turn."""

import asyncio
import json
import os
import sys

import structlog

from otel_ingest.cli.access import Access
from otel_ingest.config import Settings
from otel_ingest.ending import end

_log = structlog.get_logger(__name__)
_NEVER_DAYS = 100_000
_COMMAND = ("-m", "otel_ingest", "partitions")


class PackProcess:
    """One process at a time that packs what is due, or moves it into cold files; it may end at any moment unharmed."""

    def __init__(self, settings: Settings, access: Access) -> None:
        """Take the settings, and the way to PostgreSQL: only the owner may pack."""
        self._settings = settings
        self._owner = access.owner
        self._task: asyncio.Task[None] | None = None
        self._warned = False

    def begin(self) -> None:
        """Start with what is due, unless that is off or going on already."""
        is_on = self._settings.pack_after_days or self._settings.cold_url
        if not is_on or (self._task is not None and not self._task.done()):
            return
        if self._owner is not None:
            self._task = asyncio.create_task(self._both(self._owner))
        elif not self._warned:
            self._warned = True
            _log.warning(
                "partitions are neither packed nor moved: run `otel-ingest partitions pack` and `partitions cold` with "
                "the owner's URL, by cron"
            )

    async def stop(self) -> None:
        """End it."""
        await end(self._task)

    async def _both(self, owner: str) -> None:
        """Let go cold what is to, for it need not be packed before; then pack."""
        settings = self._settings
        if settings.cold_url:
            # Without days nothing goes cold by itself; files whose records are gone do go, or are written anew.
            told = {"COLD_URL": settings.cold_url, "COLD_AFTER_DAYS": str(settings.cold_after_days or _NEVER_DAYS)}
            await self._run(owner, ("cold", "--by-itself", "--json"), told, "went cold")
        if settings.pack_after_days:
            await self._run(owner, ("pack", "--json"), {"PACK_AFTER_DAYS": str(settings.pack_after_days)}, "packed")

    async def _run(self, owner: str, command: tuple[str, ...], told: dict[str, str], done: str) -> None:
        """Run a command; a line of its answer is a line of the log."""
        told = {f"OTEL_INGEST_{name}": value for name, value in ({"DATABASE_URL": owner} | told).items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *_COMMAND,
            *command,
            env=os.environ | told,  # noqa: TID251 - the environment of a process we start
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
        for line in out.splitlines():
            _log.info(done, **json.loads(line))
        if process.returncode:
            reason = errors.decode(errors="replace").strip()
            _log.warning("a part of the upkeep of partitions ended early, and goes on in a while", reason=reason)
