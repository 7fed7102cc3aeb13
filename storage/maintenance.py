"""What is done for the store every ten minutes, by one receiver at a time, and never in a writer's way."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from storage import digests, partitions, rejected
from storage.config import Windows
from storage.rejected import RejectedBounds


async def maintain(
    engine: AsyncEngine, now: datetime, partitions_ahead: int, windows: Windows, bounds: RejectedBounds
) -> None:
    """Make the next days' partitions, empty digest tables past their window, prune rejected records.

    Raises StoreError.
    """
    await partitions.maintain(engine, now, partitions_ahead)
    await digests.empty_unused(engine, windows)
    await rejected.prune(engine, bounds)
