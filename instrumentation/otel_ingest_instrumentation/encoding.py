"""Records of the SDK into one OTLP request, a record at a time, with pauses in between (pace.py).

The SDK encodes a whole batch at once and hashes the resource, as JSON, for each record of it; here resources are told
apart as objects, and encoded once a request. What a single record becomes is the SDK's.
"""

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal import _encode_instrumentation_scope, _encode_resource
from opentelemetry.exporter.otlp.proto.common._internal._log_encoder import _encode_log
from opentelemetry.exporter.otlp.proto.common._internal.trace_encoder import _encode_span
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from otel_ingest_instrumentation import loud, pace

Encoded = tuple[bytes, int]
"""An Export…ServiceRequest and how many records are in it."""
# Logs and traces nest alike: request {1: group*}, group {1: resource, 2: scope*, 3: url}, scope {1: scope, 2: record*}.
_GROUP, _INNER = b"\x0a", b"\x12"  # tags of fields 1 and 2, each with a length


class _Groups:
    """Encoded records by resource and scope, in the order of their first ones."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: dict[tuple[int, Any], list[bytes]] = {}
        self._resources: dict[int, Any] = {}

    def add(self, resource: Any, scope: Any, record: bytes) -> None:
        key = (id(resource), scope)
        parts = self._parts.get(key)
        if parts is None:
            parts = self._parts[key] = []
            self._resources.setdefault(id(resource), resource)
        parts += (_INNER, _length(len(record)), record)
        self.count += 1

    def request(self, group: Any, envelope: Any) -> bytes:
        """Return the request; ``group`` and ``envelope``: the messages around resource and scope."""
        out = []
        for number, resource in self._resources.items():
            message = group(resource=_encode_resource(resource), schema_url=resource.schema_url)
            parts = [message.SerializeToString()]
            for (of, scope), records in self._parts.items():
                if of == number:
                    around = envelope(
                        scope=_encode_instrumentation_scope(scope), schema_url=getattr(scope, "schema_url", None)
                    )
                    parts += _delimited(_INNER, [around.SerializeToString(), *records])
            out += _delimited(_GROUP, parts)
        return b"".join(out)


def _delimited(tag: bytes, parts: list[bytes]) -> list[bytes]:
    return [tag, _length(sum(map(len, parts))), *parts]


def _length(number: int) -> bytes:
    """Return a protobuf varint."""
    out = bytearray()
    while number > 127:  # noqa: PLR2004
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def logs(batch: Sequence[Any], clean: Callable[[Any], Any]) -> Encoded:
    """Return log records, each cleaned first; one that cannot be encoded costs only itself."""
    groups = _grouped(batch, clean, _encode_log)
    return groups.request(ResourceLogs, ScopeLogs), groups.count


def spans(batch: Sequence[Any], clean: Callable[[Any], Any]) -> Encoded:
    """Return spans, in the same way."""
    groups = _grouped(batch, clean, _encode_span)
    return groups.request(ResourceSpans, ScopeSpans), groups.count


def _grouped(batch: Sequence[Any], clean: Callable[[Any], Any], encode: Callable[[Any], Any]) -> _Groups:
    groups = _Groups()
    step = pace.step
    for source in batch:
        try:
            record = clean(source)
            groups.add(record.resource, record.instrumentation_scope or None, encode(record).SerializeToString())
        except Exception as error:  # noqa: BLE001  # whatever it is, its neighbours leave
            loud.say(f"a record cannot be encoded: {type(error).__name__}: {error}", kind="encode")
        step()
    return groups
