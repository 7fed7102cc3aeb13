"""PURE: records and series -> Loki's JSON: times of lines as text in ns, of samples as seconds, values as text."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from mcp_tools.loki.labels import level_of, stream_of
from mcp_tools.loki.series import Points, Series
from storage.views import LogEntry

Json = dict[str, Any]
_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]")


def success(kind: str, result: Any, *, categorized: bool = False) -> Json:
    """Return the envelope of an answer."""
    data: Json = {"resultType": kind, "result": result, "stats": {}}
    if categorized:
        data["encodingFlags"] = ["categorize-labels"]
    return {"status": "success", "data": data}


def streams(entries: Sequence[LogEntry], *, categorized: bool = False) -> list[Json]:
    """Return log lines by stream, each in the order they came; ``categorized``: with what else is known of each."""
    found: dict[tuple[str, str], list[Any]] = {}
    for entry in entries:
        line: list[Any] = [str(entry.time_ns), line_of(entry)]
        if categorized:
            line.append({"structuredMetadata": _metadata(entry)})
        found.setdefault((entry.component, level_of(entry.severity_number)), []).append(line)
    return [{"stream": stream_of(*key), "values": lines} for key, lines in found.items()]


def line_of(entry: LogEntry) -> str:
    """Return a record's line: its body, or where it has none the name of the event."""
    return entry.body if entry.body is not None else entry.event_name


def _metadata(entry: LogEntry) -> dict[str, str]:
    """Return attributes and ids, named as labels are; later names win over attributes of the same spelling."""
    found = {_NO_LABEL.sub("_", key): _text(value) for key, value in entry.attributes.items()}
    known = {"trace_id": entry.trace_id, "span_id": entry.span_id, "scope_name": entry.scope_name}
    return found | {k: v for k, v in known.items() if v} | {"detected_level": level_of(entry.severity_number)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def matrix(series: Series, at: Points) -> list[Json]:
    """Return series with all of their points."""
    return [
        {"metric": dict(labels), "values": [[seconds(at.time_ns(i)), number(v)] for i, v in values.items()]}
        for labels, values in sorted(series.items())
        if values
    ]


def vector(series: Series, at: Points) -> list[Json]:
    """Return series at the one point there is."""
    return [
        {"metric": dict(labels), "value": [seconds(at.start_ns), number(values[0])]}
        for labels, values in sorted(series.items())
        if values
    ]


def seconds(ns: int) -> float | int:
    """Return a time in seconds since 1970, to the millisecond."""
    ms = ns // 1_000_000
    return ms / 1000 if ms % 1000 else ms // 1000


def number(value: float) -> str:
    """Return a number as Go writes it: no exponent, no point where it is whole."""
    return str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")
