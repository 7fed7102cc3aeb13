"""What is done for the store every ten minutes, by one receiver at a time, and never in a writer's way."""

from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import digests, partitions, rejected, sealing
from storage.columns import TELEMETRY_TABLES
from storage.config import Windows
from storage.dberrors import translate
from storage.periods import days_ahead, range_name
from storage.rejected import RejectedBounds
from storage.retention import carrying_out
from storage.retention.carrying_out import Done
from storage.retention.planning import Step


async def maintain(
    engine: AsyncEngine, now: datetime, partitions_ahead: int, windows: Windows, bounds: RejectedBounds
) -> None:
    """Make the next days' partitions, empty digest tables past their window, prune rejected records.

    Raises StoreError.
    """
    await partitions.maintain(engine, now, partitions_ahead)
    await digests.empty_unused(engine, windows)
    await rejected.prune(engine, bounds)


async def plan(engine: AsyncEngine, now: datetime, partitions_ahead: int) -> list[Step]:
    """Return the partitions to make, what retention is to do, and indexes to build, each with its reason.

    Raises StoreError.
    """
    made = []
    try:
        async with engine.connect() as connection:
            for table in (t.name for t in TELEMETRY_TABLES):
                there, period = (
                    await partitions.what_is_there(connection, table),
                    await partitions.period_of(connection, table),
                )
                wanted = partitions.plan(there, period, days_ahead(now, partitions_ahead), partitions.PARTITIONS_MAX)
                why = f"yesterday to {partitions_ahead} days ahead are made before they are needed"
                made += [
                    Step(kind="make", table=table, name=range_name(table, bounds), bounds=bounds, reason=why)
                    for bounds in wanted
                ]
    except (SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    due = await carrying_out.plan(engine, now)
    going = {step.name for step in due if step.kind != "delete"}
    return [*made, *due, *(step for step in await sealing.plan(engine, now) if step.name not in going)]


async def apply(engine: AsyncEngine, now: datetime, seconds_max: float) -> list[Done]:
    """Carry out retention, then build indexes of closed partitions, each begun within ``seconds_max``; as the owner.

    Raises StoreError.
    """
    gone = await carrying_out.apply(engine, now, seconds_max)
    return [*gone, *await sealing.apply(engine, now, seconds_max)]
