"""``audit_log``: who did or tried what. Only ever added to, here and nowhere else."""

from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.models import audit_log


async def audit(connection: AsyncConnection, caller: str, role: str, action: str, arguments: Any, outcome: str) -> None:
    """Write an entry in the transaction of what it is about. Raises SQLAlchemyError."""
    row = {"caller": caller, "role": role, "action": action, "arguments": arguments, "outcome": outcome}
    # inline: no RETURNING id, which would need the right to read the table.
    await connection.execute(insert(audit_log).values(row).inline())
