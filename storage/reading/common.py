"""What the read functions share: the tables with what is interned, and counting with a bound."""

from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.models import log_records, resources, scopes, spans

# Counting goes this far; past it an answer says "at least".
COUNT_MAX = 10_000
LOGS = log_records.outerjoin(resources, resources.c.id == log_records.c.resource_id).outerjoin(
    scopes, scopes.c.id == log_records.c.scope_id
)
SPANS = spans.outerjoin(resources, resources.c.id == spans.c.resource_id).outerjoin(
    scopes, scopes.c.id == spans.c.scope_id
)


async def count_matching(connection: AsyncConnection, matching: Select[Any]) -> int:
    """Return how many rows match, counted to one more than COUNT_MAX."""
    inner = matching.limit(COUNT_MAX + 1).subquery()
    return int((await connection.execute(select(func.count()).select_from(inner))).scalar_one())
