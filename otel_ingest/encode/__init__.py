"""PURE: rows as they are stored -> Export*ServiceRequest; the inverse of ``decode``.

What was stored comes back equal to what came in, the order of records and of attribute keys aside.
"""

from typing import Any

from otel_ingest.encode import logs, metrics, spans
from otel_ingest.encode.envelopes import envelope
from otel_ingest.signals import LOGS, METRICS, TRACES
from storage.pages import ExportPage

_BY_TABLE = {
    LOGS.table.name: (LOGS.request_type, logs.SHAPE),
    TRACES.table.name: (TRACES.request_type, spans.SHAPE),
    METRICS.table.name: (METRICS.request_type, metrics.SHAPE),
}


def encode(page: ExportPage) -> Any:
    """Return the request that holds the rows of a page."""
    request_type, shape = _BY_TABLE[page.table.name]
    return envelope(page, request_type, shape)
