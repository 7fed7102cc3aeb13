"""Faults that other stores have, those that no other test here has: docs/reliability.md has the table of all."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_ingest.encode import encode
from storage import embedded
from storage.columns import LOG_RECORDS
from storage.config import StorageConfig
from storage.engine import write_engine
from storage.export import pages
from storage.pages import ExportQuery
from tests import harness
from tests.equality import records_of
from tests.factories import log_record, logs_request

PROTOBUF = "application/x-protobuf"
YEAR_NS = 365 * 86_400 * 10**9
# Code points of one record; all of Unicode but the surrogates, which are no text, in some 280.
A_RECORD = 4_000

STOCK = """
import logging
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.{protocol}._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.{protocol}.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.{protocol}.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

spans, logs = TracerProvider(), LoggerProvider()
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
meters.get_meter("stock").create_counter("orders").add(1)
with spans.get_tracer("stock").start_as_current_span("work"):
    logs.get_logger("stock").emit(body="hello", severity_text="INFO")
for provider in (spans, logs, meters):
    provider.shutdown()
"""


async def exported(url: str) -> ExportLogsServiceRequest:
    """Return all log records of a store as the export writes them."""
    engine, found = write_engine(StorageConfig(url)), ExportLogsServiceRequest()
    async for page in pages(engine, LOG_RECORDS, ExportQuery()):
        found.MergeFrom(encode(page))
    await engine.dispose()
    return found


@pytest.mark.slow
def test_every_character_comes_out_again(tmp_path: Path) -> None:
    """All of Unicode, NUL and what is no character too, in bodies, keys, values and names: equal, none rejected."""
    points = [chr(n) for n in range(0x110000) if not 0xD800 <= n <= 0xDFFF]
    texts = ["".join(points[start : start + A_RECORD]) for start in range(0, len(points), A_RECORD)]
    records = [
        log_record(
            body=AnyValue(string_value=text),
            event_name=text,
            attributes=[KeyValue(key=text, value=AnyValue(string_value=text))],
        )
        for text in texts
    ]
    request = logs_request(records)
    with harness.running(tmp_path / "data", OTEL_INGEST_REDACT="false") as server:
        assert server.post("/v1/logs", request.SerializeToString(), PROTOBUF) == (200, b"")
        found = asyncio.run(exported(embedded.connection_url(server.data_dir)))

    assert len(found.resource_logs) > 0
    assert records_of(found) == records_of(request)


def test_a_stock_sdk_needs_the_endpoint_alone(tmp_path: Path) -> None:
    """No header, no token, no path: OTEL_EXPORTER_OTLP_ENDPOINT, by both transports; all three signals arrive."""
    with harness.running(tmp_path / "data") as server:
        for protocol, address in (("http", server.http), ("grpc", server.grpc)):
            program = [sys.executable, "-c", STOCK.replace("{protocol}", protocol)]
            environment = harness.clean_environment(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{address}")
            sent = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=True)
            assert "rror" not in sent.stderr, sent.stderr
        with server.sql() as cursor:
            counts = cursor.execute(
                "SELECT (SELECT count(*) FROM log_records), (SELECT count(*) FROM spans), "
                "(SELECT count(*) FROM metric_points WHERE name = 'orders')"
            ).fetchone()

    assert counts == (2, 2, 2)


def test_no_time_needs_a_partition_that_is_not_there(tmp_path: Path) -> None:
    """Time 0, nine years early or late, 1970 and 2100: stored, found, and told to whoever looks; 2300 is rejected."""
    with harness.running(tmp_path / "data") as server:
        with server.sql() as cursor:
            row = cursor.execute("SELECT (extract(epoch FROM now()) * 1e9)::bigint").fetchone()
        assert row is not None
        now = int(str(row[0]))
        stored = {"early": now - 9 * YEAR_NS, "late": now + 9 * YEAR_NS, "now": now, "none": 0}
        stored |= {"1970": 86_400 * 10**9, "2100": 4_102_444_800 * 10**9}
        refused = {"2300": 10_413_792_000 * 10**9}
        request = logs_request(
            [log_record(time_unix_nano=at, body=AnyValue(string_value=name)) for name, at in (stored | refused).items()]
        )
        status, answer = server.post("/v1/logs", request.SerializeToString(), PROTOBUF)
        partial = ExportLogsServiceResponse.FromString(answer).partial_success
        page = json.loads(server.get("/api/v1/logs?since=1970-01-01T00:00:00Z&until=2101-01-01T00:00:00Z"))
        overview = json.loads(server.get("/api/v1/overview"))
        command = [sys.executable, "-m", "otel_ingest", "rejected", "--json", "--data-dir", str(server.data_dir)]
        kept = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert (status, partial.rejected_log_records) == (200, len(refused))
    assert "more than 36525 days from now" in partial.error_message
    assert page["returned"] == len(stored)
    assert all(f'"{name}"' in json.dumps(page) for name in stored)
    assert kept.count("more than 36525 days") == len(refused)
    assert any("2100-01-01" in hint and "1970-01-02" in hint for hint in overview["hints"])
    assert overview["freshness_lag_ms"] is None
