"""One receiver process of several: takes its order from the supervisor on stdin, answers on stdout, a line each.

First line in: the order. Then ``metrics`` or ``readiness``: each is answered with one JSON line. The end of stdin is
the end of the supervisor, and this process stops as on SIGTERM.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from otel_ingest.cli import compose
from otel_ingest.cli.access import Access
from otel_ingest.cli.certificates import open_certificates
from otel_ingest.cli.common import load_settings
from otel_ingest.cli.spooling import readiness
from otel_ingest.sockets import bind

_log = structlog.get_logger(__name__)


def samples(registry: CollectorRegistry) -> list[Any]:
    """Return all metrics as plain lists: name, documentation, type, samples."""
    return [
        [family.name, family.documentation, family.type, [[s.name, s.labels, s.value] for s in family.samples]]
        for family in registry.collect()
    ]


async def work(line: bytes, stop: asyncio.Event) -> None:
    """Receive until ``stop`` or the end of stdin."""
    order = json.loads(line)
    settings = load_settings(**order["settings"])
    access = Access(**order["access"])
    async with AsyncExitStack() as stack:
        certificates = open_certificates(settings)
        sockets = [bind(getattr(settings, f"{s}_endpoint"), f"{s}_endpoint", shared=True) for s in ("http", "grpc")]
        for sock in sockets:
            stack.callback(sock.close)

        async def way() -> Access:
            return access

        receiving = await compose.receive(settings, stack, certificates, (sockets[0], sockets[1]), way)
        _say({"ready": True})
        talking = asyncio.create_task(_talk(receiving, stop))
        await stop.wait()
        talking.cancel()
        _log.info("stopping: finishing what was accepted")


async def _talk(receiving: compose.Receiving, stop: asyncio.Event) -> None:
    """Answer the supervisor until it is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    spooling = receiving.spooling
    while line := await reader.readline():
        if line.strip() == b"metrics":
            view = spooling.view()
            _say({"metrics": samples(receiving.stats.registry), "spool": asdict(view) if view is not None else None})
        else:
            ready, sentence = await readiness(spooling, receiving.ping)
            _say({"ready": ready, "sentence": sentence})
    stop.set()


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
