"""Batches from and to OTLP messages: made, cut in two, and the record that reports a loss."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_ERROR

from otel_ingest_instrumentation.losses import Loss
from otel_ingest_instrumentation.outcome import Batch

# signal: request, and the fields from it down to the records
_SHAPES: dict[str, tuple[Any, tuple[str, str, str]]] = {
    "logs": (ExportLogsServiceRequest, ("resource_logs", "scope_logs", "log_records")),
    "traces": (ExportTraceServiceRequest, ("resource_spans", "scope_spans", "spans")),
    "metrics": (ExportMetricsServiceRequest, ("resource_metrics", "scope_metrics", "metrics")),
}


def new(signal: str, count: int, first: int, last: int, body: bytes) -> Batch:
    """Return a batch with an id of its own; the receiver stores an id once, however often it comes."""
    return Batch(str(uuid.uuid4()), signal, count, first, last, body)


def halves(batch: Batch) -> Sequence[Batch]:
    """Return the batch in two, or nothing where it holds one record."""
    if batch.count <= 1:
        return ()
    kind, (resources, scopes, records) = _SHAPES[batch.signal]
    whole = kind.FromString(batch.body)
    middle = batch.count // 2
    parts = []
    for low, high in ((0, middle), (middle, batch.count)):
        part = kind()
        part.CopyFrom(whole)
        seen = 0
        for resource in getattr(part, resources):
            for scope in getattr(resource, scopes):
                held = getattr(scope, records)
                size = len(held)
                del held[max(0, min(size, high - seen)) :]
                del held[: max(0, min(size, low - seen))]
                seen += size
        parts.append(new(batch.signal, high - low, batch.first, batch.last, part.SerializeToString()))
    return parts


def loss_report(losses: Mapping[str, Loss], resource: Any) -> Batch:
    """Return one ERROR record for each signal that lost something; ``resource`` is an OTLP Resource or None."""
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add()
    if resource is not None:
        block.resource.CopyFrom(resource)
    scope = block.scope_logs.add()
    scope.scope.name = "otel_ingest_instrumentation"
    now = time.time_ns()
    for signal, loss in losses.items():
        record = scope.log_records.add(time_unix_nano=now, observed_time_unix_nano=now)
        record.severity_number = SEVERITY_NUMBER_ERROR
        record.severity_text = "ERROR"
        record.event_name = "otel_ingest.client.lost"
        record.body.string_value = f"lost {signal} {loss}"
        for key, number in (("first", loss.first), ("last", loss.last), ("count", loss.count)):
            attribute = record.attributes.add(key=f"otel_ingest.lost.{key}")
            attribute.value.int_value = number
        attribute = record.attributes.add(key="otel_ingest.lost.signal")
        attribute.value.string_value = signal
    return new("logs", len(losses), now, now, request.SerializeToString())
