"""Ending what waits for PostgreSQL: it may be frozen, and a cancelled statement is waited for by its driver."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# A task that waits for a server that lives ends in milliseconds.
_PATIENCE_S = 1.0


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait for them, but not for long; what is left ends with the event loop."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=_PATIENCE_S)


async def bounded(work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work``, but give it up when it takes longer than it can without a server that is frozen."""

    async def done() -> None:
        await work()

    task = asyncio.create_task(done())
    await asyncio.wait([task], timeout=_PATIENCE_S)
    await end(task)
