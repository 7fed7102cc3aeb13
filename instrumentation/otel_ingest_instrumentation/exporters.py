"""The exporters that the SDK finds by name (``otel_ingest``): records in, redacted and encoded batches out.

They work wherever the SDK lets an exporter be named: OTEL_*_EXPORTER, a declarative OTEL_CONFIG_FILE, code.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal.metrics_encoder import OTLPMetricExporterMixin
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ingest_instrumentation import batches, guard, loud, process
from otel_ingest_instrumentation.outcome import Batch

BATCH_BYTES_MAX = 8 << 20  # a request's size before it is cut: receivers often refuse more than 4 to 64 MiB


def _encode(records: Sequence[Any], encoder: Callable[[Sequence[Any]], Any]) -> tuple[Any, int]:
    """Return the message and how many records are in it; one that cannot be encoded costs only itself."""
    try:
        return encoder(records), len(records)
    except Exception as error:  # noqa: BLE001
        loud.say(f"a record cannot be encoded: {type(error).__name__}: {error}", kind="encode")
    whole = None
    count = 0
    for record in records:
        try:
            one = encoder([record])
        except Exception:  # noqa: BLE001, S112  # said above, counted by the caller
            continue
        count += 1
        if whole is None:
            whole = one
        else:
            whole.MergeFrom(one)
    return whole, count


def _submit(batch: Batch) -> None:
    """Hand a batch over, in pieces where it is very large."""
    if len(batch.body) > BATCH_BYTES_MAX and (parts := batches.halves(batch)):
        for part in parts:
            _submit(part)
    else:
        process.delivery().submit(batch)


def _export(signal: str, records: Sequence[Any], encoder: Callable[[Sequence[Any]], Any], times: Sequence[int]) -> None:
    first, last = (min(times), max(times)) if times else (time.time_ns(),) * 2
    message, count = _encode(records, encoder)
    if count < len(records):
        process.delivery().losses.add(signal, len(records) - count, first, last, "they could not be encoded")
    if message is not None and count:
        _submit(batches.new(signal, count, first, last, message.SerializeToString()))


class OtelIngestLogExporter(LogRecordExporter):
    """Log records to OTLP. An export never fails for the SDK: what cannot be sent waits or is counted."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Redact, encode and hand over a batch."""
        with guard.exporting():
            cleaner = process.cleaner()
            records = [cleaner.log(record) for record in batch]
            if records:
                process.remember_resource(records[-1].resource)
            times = [r.log_record.timestamp or r.log_record.observed_timestamp or time.time_ns() for r in records]
            _export("logs", records, encode_logs, times)
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
            records = [cleaner.span(span) for span in spans]
            if records:
                process.remember_resource(records[-1].resource)
            _export("traces", records, encode_spans, [s.end_time or time.time_ns() for s in records])
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
            message, _ = _encode([metrics_data], lambda data: encode_metrics(data[0]))
            if message is not None:
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
