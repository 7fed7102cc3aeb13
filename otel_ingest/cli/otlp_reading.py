"""A stored trace as OTLP/JSON, for the query side: the lossless encode, which the read side may not import itself."""

from typing import Any

from otel_ingest.encode import encode
from otel_ingest.encode.json_format import to_value
from otel_ingest.signals import TRACES
from storage.engine import AsyncEngine
from storage.export import pages
from storage.pages import ExportQuery


async def otlp_trace(engine: AsyncEngine, trace_id: str, spans_max: int) -> tuple[list[Any], int]:
    """Return the ``resourceSpans`` of a trace, equal to what came in, and how many spans they hold. Raises StoreError.

    Pages are read until ``spans_max`` spans are there: an answer holds up to a page more.
    """
    found: list[Any] = []
    count = 0
    async for page in pages(engine, TRACES.table, ExportQuery(trace_id=trace_id)):
        found += to_value(encode(page)).get("resourceSpans", [])
        count += len(page.rows)
        if count >= spans_max:
            break
    return found, count
