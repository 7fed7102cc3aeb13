"""One trace, and trace search."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import cursor as cursors
from storage.filters import TraceQuery
from storage.mapping import log_node, span_node, us_of
from storage.models import log_records, spans
from storage.packing.connection import Manner, PackedConnection
from storage.reading import search
from storage.reading.common import LOGS, MESSAGES, SPAN_NODES, SPANS
from storage.views import Page, TraceOutline, TraceSummary

_ERROR = 2
_ERROR_NUMBER = 17
_BEFORE_ALL = UUID(int=0)
_OF_SPANS = SPAN_NODES.order_by(
    spans.c.parent_span_id.isnot(None), (spans.c.status_code == _ERROR).is_not(true()), spans.c.time, spans.c.id
)
_OF_LOGS = MESSAGES.order_by(log_records.c.severity_number < _ERROR_NUMBER, log_records.c.time, log_records.c.id)


async def trace_outline(
    connection: PackedConnection, trace_id: str, spans_max: int = 50_000, logs_max: int = 2_000
) -> TraceOutline | None:
    """Return the shape of a trace and what its log records say, oldest first; None when nothing is stored of it."""
    key = UUID(trace_id)
    table, logs = spans.c, log_records.c
    connection.manner(Manner(for_any_value=True))
    found = (await connection.execute(_OF_SPANS.where(table.trace_id == key).limit(spans_max))).all()
    said = (await connection.execute(_OF_LOGS.where(logs.trace_id == key).limit(logs_max))).all()
    if not found and not said:
        return None
    spans_all = len(found) if len(found) < spans_max else await _count_all(connection, SPANS, table.trace_id == key)
    logs_all = len(said) if len(said) < logs_max else await _count_all(connection, LOGS, logs.trace_id == key)
    return TraceOutline(
        trace_id=trace_id,
        spans=sorted((span_node(row) for row in found), key=lambda s: (s.time_ns, s.id)),
        logs=sorted((log_node(row) for row in said), key=lambda entry: (entry.time_ns, entry.id)),
        spans_left_out=max(spans_all - len(found), 0),
        logs_left_out=max(logs_all - len(said), 0),
    )


async def find_traces(connection: PackedConnection, query: TraceQuery) -> Page[TraceSummary]:
    """Return one page of trace summaries. Raises InvalidCursor."""
    found = await search.matching(connection, query)
    summaries = await search.summaries(connection, [trace_id for trace_id, _ in found.page])
    cursor = None
    if found.more:
        trace_id, sort = found.page[-1]
        cursor = cursors.encode([_sort_value(sort), trace_id.hex], query.canonical())
    elif found.edge is not None and query.sort == "newest":  # on from where the search ended
        cursor = cursors.encode([us_of(found.edge), _BEFORE_ALL.hex], query.canonical())
    return Page(
        items=[summaries[trace_id] for trace_id, _ in found.page],
        matched=found.matched,
        matched_is_lower_bound=found.at_least,
        next_cursor=cursor,
        stopped=found.stopped,
    )


async def trace_ids(connection: PackedConnection, query: TraceQuery) -> list[str]:
    """Return the ids of one page of traces, for those who read them whole. Raises InvalidCursor."""
    found = await search.matching(connection, query, counted=False)
    return [trace_id.hex for trace_id, _ in found.page]


async def _count_all(connection: AsyncConnection, source: Any, condition: ColumnElement[bool]) -> int:
    statement = select(func.count()).select_from(source).where(condition)
    return int((await connection.execute(statement)).scalar_one())


def _sort_value(value: Any) -> int:
    return value if isinstance(value, int) else us_of(value)
