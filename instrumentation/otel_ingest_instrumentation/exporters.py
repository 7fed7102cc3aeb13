"""The exporters that the SDK finds by name (``otel_ingest``): records in, redacted and encoded batches out.

They work wherever the SDK lets an exporter be named: OTEL_*_EXPORTER, a declarative OTEL_CONFIG_FILE, code.
"""

import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal.metrics_encoder import OTLPMetricExporterMixin
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ingest_instrumentation import batches, encoding, guard, loud, process
from otel_ingest_instrumentation.outcome import Batch

BATCH_BYTES_MAX = 8 << 20  # a request's size before it is cut: receivers often refuse more than 4 to 64 MiB


def _submit(batch: Batch) -> None:
    """Hand a batch over, in pieces where it is very large."""
    if len(batch.body) > BATCH_BYTES_MAX and (parts := batches.halves(batch)):
        for part in parts:
            _submit(part)
    else:
        process.delivery().submit(batch)


def _export(signal: str, encoded: encoding.Encoded, batch: Sequence[Any], times: Sequence[int]) -> None:
    body, count = encoded
    first, last = (min(times), max(times)) if times else (time.time_ns(),) * 2
    if count < len(batch):
        process.delivery().losses.add(signal, len(batch) - count, first, last, "they could not be encoded")
    if count:
        _submit(batches.new(signal, count, first, last, body))


class OtelIngestLogExporter(LogRecordExporter):
    """Log records to OTLP. An export never fails for the SDK: what cannot be sent waits or is counted."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Redact, encode and hand over a batch."""
        with guard.exporting():
            cleaner = process.cleaner()
            encoded = encoding.logs(batch, cleaner.log)
            if batch:
                process.remember_resource(cleaner.resource(batch[-1].resource))
            times = [r.log_record.timestamp or r.log_record.observed_timestamp or time.time_ns() for r in batch]
            _export("logs", encoded, batch, times)
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Nothing is held here."""
        return True

    def shutdown(self) -> None:
        """Do nothing: what waits is shared with other exporters, and is the exit hooks' business."""


class OtelIngestSpanExporter(SpanExporter):
    """Spans to OTLP."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Redact, encode and hand over a batch."""
        with guard.exporting():
            cleaner = process.cleaner()
            encoded = encoding.spans(spans, cleaner.span)
            if spans:
                process.remember_resource(cleaner.resource(spans[-1].resource))
            _export("traces", encoded, spans, [s.end_time or time.time_ns() for s in spans])
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Nothing is held here."""
        return True

    def shutdown(self) -> None:
        """Do nothing: what waits is the exit hooks' business."""


class OtelIngestMetricExporter(MetricExporter, OTLPMetricExporterMixin):
    """Metrics to OTLP; temporality and aggregation as the standard's variables say."""

    def __init__(self, preferred_temporality: Any = None, preferred_aggregation: Any = None) -> None:
        self._common_configuration(preferred_temporality, preferred_aggregation)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:  # noqa: ARG002
        """Encode, redact the message in place, and hand it over."""
        with guard.exporting():
            try:
                message = encode_metrics(metrics_data)
            except Exception as error:  # noqa: BLE001  # the SDK would log it into the pipe it is about
                loud.say(f"metrics cannot be encoded: {type(error).__name__}: {error}", kind="encode")
                return MetricExportResult.FAILURE
            process.cleaner().message(message)
            count = sum(len(s.metrics) for r in message.resource_metrics for s in r.scope_metrics)
            now = time.time_ns()
            if count:
                _submit(batches.new("metrics", count, now, now, message.SerializeToString()))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing is held here."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Do nothing: what waits is the exit hooks' business."""
