"""What is done for the store every ten minutes, by one receiver at a time, and never in a writer's way."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from storage import digests, partitions
from storage.config import Windows


async def maintain(engine: AsyncEngine, now: datetime, partitions_ahead: int, windows: Windows) -> None:
    """Make the day partitions of the next days; empty digest tables past their window. Raises StoreError."""
    await partitions.maintain(engine, now, partitions_ahead)
    await digests.empty_unused(engine, windows)
