"""One log record in full, and the lines around it."""

import asyncio
from dataclasses import asdict
from typing import Any

from mcp_tools.errors import UserInputError
from mcp_tools.page.show import stamp
from mcp_tools.page.visit import Shown, Visit
from storage.filters import LogQuery
from storage.mapping import severity_name
from storage.views import LogEntry

AROUND_RECORDS = 12
"""Lines before and after a record: one screen."""


def data_of(entry: LogEntry) -> dict[str, Any]:
    """Return a record as the JSON of a page has it."""
    severity = severity_name(entry.severity_number)
    return asdict(entry) | {"time": stamp(entry.time_ns), "severity": severity, "level": severity.lower()}


async def view(visit: Visit) -> Shown:
    """Return one record with the lines of its component around it, or of every component. Raises UserInputError."""
    identifier = int(visit.path_params["id"])
    entry = await visit.reader.get_log(identifier) if identifier < 2**63 else None
    if entry is None:
        raise UserInputError("UNKNOWN_ID", f"no log record has the id {identifier}; it may have expired")
    everyone = visit.param("around") == "everyone"
    before, after = await _around(visit, entry, None if everyone else entry.component)
    lines = [*(data_of(e) for e in before), data_of(entry), *(data_of(e) for e in after)]
    return Shown(
        "record.html",
        f"Record {identifier}",
        {"record": data_of(entry), "around": lines},
        {"everyone": everyone},
    )


async def _around(visit: Visit, entry: LogEntry, component: str | None) -> tuple[list[LogEntry], list[LogEntry]]:
    """Return the records before and after one, oldest first; within one instant ids tell the order."""
    limit = AROUND_RECORDS + 1
    until = LogQuery(component=component, until_ns=entry.time_ns + 1, order="newest", limit=limit)
    since = LogQuery(component=component, since_ns=entry.time_ns, order="oldest", limit=limit)
    earlier, later = await asyncio.gather(visit.reader.find_logs(until), visit.reader.find_logs(since))
    key = (entry.time_ns, entry.id)
    before = [e for e in reversed(earlier.items) if (e.time_ns, e.id) < key]
    return before[-AROUND_RECORDS:], [e for e in later.items if (e.time_ns, e.id) > key][:AROUND_RECORDS]
