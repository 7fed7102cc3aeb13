"""PURE: how many rows of what kind and minute a batch holds; what ``storage.rollups`` keeps beside the rows."""

from collections.abc import Iterable
from typing import Any

from storage.columns import LOG_RECORDS, SPANS, TELEMETRY_TABLES, TelemetryTable
from storage.encoding import POSTGRES_EPOCH_US
from storage.latency import BUCKETS, bucket_of
from storage.rows import LogRow, Row, SpanRow

US_PER_MINUTE = 60_000_000
NAME_CHARS_MAX = 200
"""What of a span's name is counted by; names that begin alike are one."""
SERVING_KINDS = (2, 5)
"""SPAN_KIND_SERVER, SPAN_KIND_CONSUMER: what spans of these kinds do was asked for."""
ROOT_KINDS = (0, 1)
"""Unspecified and internal: without a parent they are work of their own, a job."""
_ERROR = 2
_SERVED = 4
Key = tuple[Any, ...]
"""Minutes since 1970, component, and severity number; of spans status code (no status: 0), name and kind.

Of what was served also minute, component, 1 where it failed, and the bucket of its duration (``storage.latency``).
"""
Counts = dict[Key, list[int]]
"""Key -> [rows, sum of durations in ns (but of spans: 0)]."""

Cell = tuple[Any, ...]
"""Minute, code, rows and their durations as compiled code counts them, and of spans name and kind: see ``Key``."""

_PLACES = {table.name: {c.name: i for i, c in enumerate(table.columns)} for table in TELEMETRY_TABLES}


def count(counts: Counts, row: Row) -> None:
    """Add one row to ``counts``; data points are not counted."""
    if isinstance(row, LogRow):
        _add(counts, (row.time // US_PER_MINUTE, row.component, row.severity_number), 1, 0)
    elif isinstance(row, SpanRow):
        minute, code = row.time // US_PER_MINUTE, row.status_code or 0
        _add(counts, (minute, row.component, code, row.name[:NAME_CHARS_MAX], row.kind), 1, row.duration_ns)
        if is_served(row.kind, has_parent=row.parent_span_id is not None):
            _add(counts, (minute, row.component, int(code == _ERROR), bucket_of(row.duration_ns)), 1, 0)


def is_served(kind: int, *, has_parent: bool) -> bool:
    """Return whether a span is a request that its component served, or a job of its own."""
    return kind in SERVING_KINDS or (kind in ROOT_KINDS and not has_parent)


def is_of_served(key: Key) -> bool:
    """Return whether a key counts what was served, not rows."""
    return len(key) == _SERVED


def _add(counts: Counts, key: Key, rows: int, duration_ns: int) -> None:
    cell = counts.get(key)
    if cell is None:
        counts[key] = [rows, duration_ns]
    else:
        cell[0] += rows
        cell[1] += duration_ns


def of_cells(component: str, cells: Iterable[Cell], served: Iterable[tuple[int, int]]) -> Counts:
    """Return the counts of rows of one component; a cell may stand twice.

    ``served``: ``(2 * minute + failed) * 1024 + bucket``, and how many requests; one may stand twice.
    """
    counts: Counts = {}
    for minute, code, rows, duration, *more in cells:  # name and kind
        _add(counts, (minute, component, code, *more), rows, duration)
    for place, requests in served:
        at, bucket = divmod(place, BUCKETS)
        _add(counts, (at >> 1, component, at & 1, bucket), requests, 0)
    return counts


def add(into: Counts, counts: Counts) -> None:
    """Add ``counts`` to ``into``."""
    for key, (rows, duration) in counts.items():
        cell = into.setdefault(key, [0, 0])
        cell[0] += rows
        cell[1] += duration


def take_encoded(counts: Counts, table: TelemetryTable, encoded: bytes) -> None:
    """Take one row out of ``counts``, read back from its COPY tuple (``storage.encoding``)."""
    values, places = values_of(encoded), _PLACES[table.name]

    def integer(name: str) -> int:
        value = values[places[name]]
        return 0 if value is None else int.from_bytes(value, "big", signed=True)

    def text(name: str) -> str:
        return (values[places[name]] or b"").decode()

    at = ((integer("time") + POSTGRES_EPOCH_US) // US_PER_MINUTE, text("component"))
    if table.name == LOG_RECORDS.name:
        _take(counts, (*at, integer("severity_number")), 0)
    elif table.name == SPANS.name:
        code, kind, duration = integer("status_code"), integer("kind"), integer("duration_ns")
        _take(counts, (*at, code, text("name")[:NAME_CHARS_MAX], kind), duration)
        if is_served(kind, has_parent=values[places["parent_span_id"]] is not None):
            _take(counts, (*at, int(code == _ERROR), bucket_of(duration)), 0)


def _take(counts: Counts, key: Key, duration_ns: int) -> None:
    cell = counts[key]
    cell[0] -= 1
    cell[1] -= duration_ns
    if not cell[0]:
        del counts[key]


def values_of(encoded: bytes) -> list[bytes | None]:
    """Return the values of a COPY tuple, as PostgreSQL has them in binary; NULL is None."""
    values: list[bytes | None] = []
    at = 2
    while at < len(encoded):
        length = int.from_bytes(encoded[at : at + 4], "big", signed=True)
        at += 4
        values.append(None if length < 0 else encoded[at : at + length])
        at += max(length, 0)
    return values
