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
    lists: tuple[str, str, str]  # fields from the request down: groups, scopes, records
    table: TelemetryTable

    @property
    def json_lists(self) -> tuple[str, str, str]:
        """The same as OTLP/JSON names them."""
        groups, scopes, records = map(_camel, self.lists)
        return groups, scopes, records


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))


LOGS = Signal(
    "logs",
    "/v1/logs",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    logs.ExportLogsServiceRequest,
    logs.ExportLogsServiceResponse,
    "rejected_log_records",
    "log record",
    "log_records",
    ("resource_logs", "scope_logs", "log_records"),
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
    ("resource_spans", "scope_spans", "spans"),
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
    ("resource_metrics", "scope_metrics", "metrics"),
    METRIC_POINTS,
)

SIGNALS = (LOGS, TRACES, METRICS)
BY_NAME = {signal.name: signal for signal in SIGNALS}
