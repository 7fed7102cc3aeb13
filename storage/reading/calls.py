"""Who called whom: from counts of five minutes where these were made, and from the spans where not, or not any more."""

from collections import Counter
from datetime import timedelta
from typing import Any

from sqlalchemy import DateTime, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.count_models import span_calls, span_detail_deltas
from storage.filters import timestamp
from storage.mapping import us_of
from storage.models import spans
from storage.reading.requests import HOUR_NS, Range, joined, outside, uncounted_hours
from storage.views import Call

_BEFORE = timedelta(hours=1)
"""A caller's span began so long before the one it calls at most …"""
_AFTER = timedelta(minutes=1)
"""… or so long after it, by clocks that differ. Both are those of ``otel_ingest_count_slot``."""
_SLOT_NS = 300 * 1_000_000_000
_SECOND_NS = 1_000_000_000
# Spans that came since PostgreSQL looked at the table last look few: a look for the caller of each would be quadratic
# where they are of one large trace.
_NO_LOOPS, _LOOPS = text("SET LOCAL enable_nestloop = off"), text("SET LOCAL enable_nestloop = on")


async def calls(connection: AsyncConnection, since_ns: int, until_ns: int) -> list[Call]:
    """Return how often a component called another in [since, until), to the microsecond: by when the call began."""
    since_ns, until_ns = max(since_ns, 0) // 1000 * 1000, max(-(-until_ns // 1000) * 1000, 0)
    first, last = -(-since_ns // _SLOT_NS) * _SLOT_NS, until_ns // _SLOT_NS * _SLOT_NS
    counted = await _counted(connection, first, last) if first < last else []
    found: Counter[tuple[str, str]] = Counter()
    told = joined([(slot, slot + _SLOT_NS) for slot in counted])
    for since, until in told:
        for parent, child, count in await connection.execute(_of_slots(since, until)):
            found[parent, child] += int(count)
    if rest := outside(told, since_ns, until_ns):
        await connection.execute(_NO_LOOPS)
        for since, until in rest:
            for parent, child, count in await connection.execute(_of_spans(since, until)):
                found[parent, child] += count
        await connection.execute(_LOOPS)
    return [Call(parent=parent, child=child, count=n) for (parent, child), n in sorted(found.items())]


async def _counted(connection: AsyncConnection, first_ns: int, last_ns: int) -> list[int]:
    """Return the slots of a window that were counted and are as they were then."""
    window = (span_calls.c.slot >= timestamp(first_ns // 1000), span_calls.c.slot < timestamp(last_ns // 1000))
    slots = select(span_calls.c.slot).where(*window, span_calls.c.parent.is_(None))
    counted = [us_of(slot) * 1000 for slot in (await connection.execute(slots)).scalars()]
    if not counted:
        return []
    fresh = span_detail_deltas.c.minute
    slot = func.date_bin(timedelta(minutes=5), fresh, timestamp(0), type_=DateTime(timezone=True))
    changes = select(slot).distinct().where(fresh >= timestamp((first_ns - 2 * HOUR_NS) // 1000))
    changed: list[Range] = [
        (us_of(moment) * 1000 - _SLOT_NS, us_of(moment) * 1000 + HOUR_NS + _SLOT_NS)
        for moment in (await connection.execute(changes)).scalars()
    ]
    uncounted = await uncounted_hours(connection, max(first_ns - HOUR_NS, 0), last_ns + HOUR_NS)
    changed += [(hour - HOUR_NS, hour + 2 * HOUR_NS) for hour in uncounted]
    kept = outside(changed, first_ns, last_ns)
    return [slot for slot in counted if any(since <= slot < until for since, until in kept)]


def _of_slots(since_ns: int, until_ns: int) -> Any:
    table = span_calls.c
    window = (table.slot >= timestamp(since_ns // 1000), table.slot < timestamp(until_ns // 1000))
    counts = select(table.parent, table.child, func.sum(table.calls))
    return counts.where(*window, table.parent.isnot(None)).group_by(table.parent, table.child)


def _of_spans(since_ns: int, until_ns: int) -> Any:
    """Return the statement that joins each span with its parent, where they are of two components."""
    child, parent = spans.alias("child"), spans.alias("parent")
    window: list[Any] = [
        child.c.time >= timestamp(since_ns // 1000),
        child.c.time < timestamp(until_ns // 1000),
        parent.c.time >= timestamp((since_ns - HOUR_NS) // 1000),
        parent.c.time < timestamp((until_ns + 60 * _SECOND_NS) // 1000),
        parent.c.time >= child.c.time - _BEFORE,
        parent.c.time <= child.c.time + _AFTER,
    ]
    counts = select(parent.c.component, child.c.component, func.count())
    return counts.where(
        parent.c.trace_id == child.c.trace_id,
        parent.c.span_id == child.c.parent_span_id,
        parent.c.component != child.c.component,
        *window,
    ).group_by(parent.c.component, child.c.component)
