"""Stored rows read back with SQL and made into what was sent, without any code of the server's."""

import json
import uuid
from typing import Any

import psycopg
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_U32, _U64 = 2**32 - 1, 2**64 - 1
_LOGS = """
SELECT time_unix_nano, observed_time_unix_nano, severity_number, flags, dropped_attributes_count, body_kind,
       event_name, attributes::text, trace_id, span_id, body, exact
FROM log_records WHERE severity_text = %s ORDER BY id
"""
_SPANS = "SELECT trace_id, span_id, parent_span_id, links::text FROM spans WHERE name = %s ORDER BY id"


def value_of(item: Any) -> AnyValue:  # noqa: PLR0911 - one line a type
    """Return the value that stored JSON stands for."""
    if item is None:
        return AnyValue()
    if isinstance(item, bool):
        return AnyValue(bool_value=item)
    if isinstance(item, int):
        return AnyValue(int_value=item)
    if isinstance(item, float):
        return AnyValue(double_value=item)
    if isinstance(item, str):
        return AnyValue(string_value=item)
    if isinstance(item, list):
        return AnyValue(array_value={"values": [value_of(v) for v in item]})
    return AnyValue(kvlist_value={"values": pairs_of(item)})


def pairs_of(item: dict[str, Any]) -> list[KeyValue]:
    """Return the attributes that a stored object stands for."""
    return [KeyValue(key=k, value=value_of(v)) for k, v in item.items()]


def _id(value: Any, size: int) -> bytes:
    if value is None:
        return b""
    return value.bytes if isinstance(value, uuid.UUID) else int(value).to_bytes(size, "big", signed=True)


def log_records(cursor: psycopg.Cursor[Any], severity_text: str) -> list[LogRecord]:
    """Return the log records with a severity text, in the order of storing."""
    return [_log_record(row, severity_text) for row in cursor.execute(_LOGS, [severity_text]).fetchall()]


def _log_record(row: tuple[Any, ...], severity_text: str) -> LogRecord:
    at, observed, severity, flags, dropped, body_kind, event, attributes, trace_id, span_id, body, exact = row
    if exact is not None:
        return LogRecord.FromString(exact)
    value = {0: None, 1: AnyValue(string_value=body or "")}.get(body_kind)
    return LogRecord(
        time_unix_nano=at & _U64,
        observed_time_unix_nano=observed & _U64,
        severity_number=severity,
        severity_text=severity_text,
        flags=flags & _U32,
        dropped_attributes_count=dropped & _U32,
        event_name=event,
        attributes=pairs_of(json.loads(attributes)),
        trace_id=_id(trace_id, 16),
        span_id=_id(span_id, 8),
        body=value_of(json.loads(body)) if body_kind > 1 else value,
    )


def span_ids(cursor: psycopg.Cursor[Any], name: str) -> list[Span]:
    """Return the spans of a name with their ids and the ids of their links alone."""
    spans = []
    for trace_id, span_id, parent, links in cursor.execute(_SPANS, [name]).fetchall():
        ids = [{k: bytes.fromhex(link[k]) for k in ("trace_id", "span_id")} for link in json.loads(links or "[]")]
        spans.append(
            Span(trace_id=_id(trace_id, 16), span_id=_id(span_id, 8), parent_span_id=_id(parent, 8), links=ids)
        )
    return spans


def same(one: LogRecord, other: LogRecord) -> bool:
    """Return whether two records are equal to the last bit; attributes have no order."""
    return _ordered(one).SerializeToString(deterministic=True) == _ordered(other).SerializeToString(deterministic=True)


def _ordered(record: LogRecord) -> LogRecord:
    result = LogRecord.FromString(record.SerializeToString())
    for pairs in (result.attributes, result.body.kvlist_value.values if result.HasField("body") else []):
        pairs.sort(key=lambda pair: (pair.key, pair.value.SerializeToString()))  # type: ignore[union-attr]
    return result
