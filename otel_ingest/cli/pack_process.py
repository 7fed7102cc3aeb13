"""Packing by itself: `partitions pack` as a process of its own, so that receiving loses no turn of its core to it."""

import asyncio
import json
import os
import sys

import structlog

from otel_ingest.cli.access import Access
from otel_ingest.config import Settings
from otel_ingest.ending import end

_log = structlog.get_logger(__name__)
_COMMAND = ("-m", "otel_ingest", "partitions", "pack", "--json")


class PackProcess:
    """One process that packs what is due, at most; it may end at any moment without harm."""

    def __init__(self, settings: Settings, access: Access) -> None:
        """Take the settings, and the way to PostgreSQL: only the owner may pack."""
        self._settings = settings
        self._owner = access.owner
        self._task: asyncio.Task[None] | None = None
        self._warned = False

    def begin(self) -> None:
        """Start to pack what is due, unless that is off or going on already."""
        if not self._settings.pack_after_days or (self._task is not None and not self._task.done()):
            return
        if self._owner is not None:
            self._task = asyncio.create_task(self._pack(self._owner))
        elif not self._warned:
            self._warned = True
            _log.warning("partitions are not packed: run `otel-ingest partitions pack` with the owner's URL, by cron")

    async def stop(self) -> None:
        """End it."""
        await end(self._task)

    async def _pack(self, owner: str) -> None:
        """Run the command; a line of its answer is a line of the log."""
        told = {"OTEL_INGEST_DATABASE_URL": owner, "OTEL_INGEST_PACK_AFTER_DAYS": str(self._settings.pack_after_days)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *_COMMAND,
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
            _log.info("packed", **json.loads(line))
        if process.returncode:
            _log.warning("packing ended early, and goes on in a while", reason=errors.decode(errors="replace").strip())
