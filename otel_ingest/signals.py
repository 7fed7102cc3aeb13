"""The three signals as data: what differs between logs, traces and metrics, once."""

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

from storage.columns import LOG_RECORDS, METRIC_POINTS, SPANS, TelemetryTable


@dataclass(frozen=True, slots=True)
class Signal:
    """One OTLP signal: where it arrives, its messages, its table, and what its records are called."""

    name: str
    path: str
    service: str
    request_type: Any
    response_type: Any
    rejected_field: str
    record: str
    metric_noun: str
    table: TelemetryTable


LOGS = Signal(
    "logs",
    "/v1/logs",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    logs.ExportLogsServiceRequest,
    logs.ExportLogsServiceResponse,
    "rejected_log_records",
    "log record",
    "log_records",
    LOG_RECORDS,
)
TRACES = Signal(
    "traces",
    "/v1/traces",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    traces.ExportTraceServiceRequest,
    traces.ExportTraceServiceResponse,
    "rejected_spans",
    "span",
    "spans",
    SPANS,
)
METRICS = Signal(
    "metrics",
    "/v1/metrics",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    metrics.ExportMetricsServiceRequest,
    metrics.ExportMetricsServiceResponse,
    "rejected_data_points",
    "data point",
    "metric_points",
    METRIC_POINTS,
)

SIGNALS = (LOGS, TRACES, METRICS)
BY_NAME = {signal.name: signal for signal in SIGNALS}
