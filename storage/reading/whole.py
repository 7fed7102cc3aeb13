"""One trace with every field of its spans and log records, for those who show it in a form of their own."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.mapping import log_columns, log_entry, span_columns, span_entry
from storage.models import log_records, spans
from storage.reading.common import LOGS, SPANS
from storage.views import WholeTrace


async def whole_trace(connection: AsyncConnection, trace_id: str, spans_max: int, logs_max: int) -> WholeTrace | None:
    """Return what is stored of a trace, oldest first; None when nothing is."""
    key = UUID(trace_id)
    of_spans = select(*span_columns()).select_from(SPANS).where(spans.c.trace_id == key)
    of_logs = select(*log_columns()).select_from(LOGS).where(log_records.c.trace_id == key)
    found = (await connection.execute(of_spans.order_by(spans.c.time, spans.c.id).limit(spans_max))).all()
    said = (await connection.execute(of_logs.order_by(log_records.c.time, log_records.c.id).limit(logs_max))).all()
    if not found and not said:
        return None
    return WholeTrace(
        trace_id=trace_id,
        spans=[span_entry(row) for row in found],
        logs=[log_entry(row) for row in said],
        spans_left_out=await _more(connection, spans, SPANS, key, len(found), spans_max),
        logs_left_out=await _more(connection, log_records, LOGS, key, len(said), logs_max),
    )


async def _more(connection: AsyncConnection, table: Any, source: Any, key: UUID, read: int, limit: int) -> int:
    """Return how many there are beyond the limit."""
    if read < limit:
        return 0
    counted = select(func.count()).select_from(source).where(table.c.trace_id == key)
    return max(int((await connection.execute(counted)).scalar_one()) - read, 0)
