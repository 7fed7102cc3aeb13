"""PURE: how many rows of what kind and minute a batch holds; what ``storage.rollups`` keeps beside the rows."""

from collections.abc import Iterable

from storage.columns import LOG_RECORDS, SPANS, TELEMETRY_TABLES, TelemetryTable
from storage.encoding import POSTGRES_EPOCH_US
from storage.rows import LogRow, Row, SpanRow

US_PER_MINUTE = 60_000_000
Key = tuple[int, str, int]
"""Minutes since 1970, component, and severity number or status code (no status: 0)."""
Counts = dict[Key, list[int]]
"""Key -> [rows, sum of durations in ns (log records: 0)]."""

_CODES = {LOG_RECORDS.name: "severity_number", SPANS.name: "status_code"}
_PLACES = {table.name: {c.name: i for i, c in enumerate(table.columns)} for table in TELEMETRY_TABLES}


def count(counts: Counts, row: Row) -> None:
    """Add one row to ``counts``; data points are not counted."""
    if isinstance(row, LogRow):
        code, duration = row.severity_number, 0
    elif isinstance(row, SpanRow):
        code, duration = row.status_code or 0, row.duration_ns
    else:
        return
    key = (row.time // US_PER_MINUTE, row.component, code)
    cell = counts.get(key)
    if cell is None:
        counts[key] = [1, duration]
    else:
        cell[0] += 1
        cell[1] += duration


def of_cells(component: str, cells: Iterable[tuple[int, int, int, int]]) -> Counts:
    """Return the counts of rows of one component, given as (minute, code, rows, sum of durations in ns)."""
    counts: Counts = {}
    for minute, code, rows, duration in cells:
        cell = counts.setdefault((minute, component, code), [0, 0])
        cell[0] += rows
        cell[1] += duration
    return counts


def add(into: Counts, counts: Counts) -> None:
    """Add ``counts`` to ``into``."""
    for key, (rows, duration) in counts.items():
        cell = into.setdefault(key, [0, 0])
        cell[0] += rows
        cell[1] += duration


def take_encoded(counts: Counts, table: TelemetryTable, encoded: bytes) -> None:
    """Take one row out of ``counts``, read back from its COPY tuple (``storage.encoding``)."""
    if table.name not in _CODES:
        return
    values, places = values_of(encoded), _PLACES[table.name]
    minute = (_integer(values[places["time"]]) + POSTGRES_EPOCH_US) // US_PER_MINUTE
    component = (values[places["component"]] or b"").decode()
    cell = counts[key := (minute, component, _integer(values[places[_CODES[table.name]]]))]
    cell[0] -= 1
    if "duration_ns" in places:
        cell[1] -= _integer(values[places["duration_ns"]])
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


def _integer(value: bytes | None) -> int:
    return 0 if value is None else int.from_bytes(value, "big", signed=True)
