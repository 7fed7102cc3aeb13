"""The stock OpenTelemetry SDK through an outage of 5 s with the spool off: its own retries lose nothing."""

import time
from pathlib import Path

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource

from tests.own_postgres import OwnPostgres, receiver

OUTAGE_S = 5.0


def exporter_to(transport: str, grpc: str, http: str) -> LogRecordExporter:
    """Return the SDK's exporter with its own defaults: a deadline of 10 s in all."""
    if transport == "grpc":
        return GrpcExporter(endpoint=f"http://{grpc}", insecure=True)
    return HttpExporter(endpoint=f"http://{http}/v1/logs")


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_sdk_loses_nothing(tmp_path: Path, postgres_of_own: OwnPostgres, transport: str) -> None:
    """Records are logged before, during and after the outage; each is stored once."""
    with receiver(tmp_path, postgres_of_own, OTEL_INGEST_SPOOL_BYTES_MAX="0") as server:
        provider = LoggerProvider(resource=Resource({"service.name": "shop"}))
        exporter = exporter_to(transport, server.grpc, server.http)
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=200))
        logger = provider.get_logger("sdk")
        sent = []

        def log_for(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                logger.emit(LogRecord(timestamp=time.time_ns(), body=f"record {len(sent)}"))
                sent.append(f"record {len(sent)}")
                time.sleep(0.02)

        log_for(1)
        postgres_of_own.stop()
        log_for(OUTAGE_S)
        postgres_of_own.start()
        log_for(1)
        provider.shutdown()

        stored = postgres_of_own.bodies()
        assert sorted(stored) == sorted(sent)
        server.assert_balanced()
