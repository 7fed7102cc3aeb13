"""One process of the load: the stock SDK (providers, batch processors, OTLP exporters), each record numbered.

``python -m tests.chaos.load`` emits log records and spans until SIGTERM, then shuts the SDK down as an application does
and ends. Around each exporter stands a wrapper that notes in a journal which records a call was given and what the call
returned; the exporters themselves are as installed.
"""

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc import exporter as grpc_exporter
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.chaos.journal import Journal

# The processors' delay: many small exports, so that many are in flight at any moment that something is killed.
EXPORT_EVERY_MS = 150
# The queue holds what is emitted while an export is tried for its whole 10 s, and more: nothing is dropped before it
# was given to an exporter.
QUEUE_MAX = 100_000
TICK_S = 0.05


def body_of(stream: str, number: int) -> str:
    """Return the text that a record carries: stored, it must be the one of its number."""
    return f"{stream} record {number}"


class Recorded:
    """An SDK exporter whose calls are noted."""

    def __init__(self, exporter: Any, journal: Journal, stream: str, number_of: Callable[[Any], int]) -> None:
        self._exporter = exporter
        self._journal = journal
        self._stream = stream
        self._number_of = number_of

    def export(self, batch: Sequence[Any]) -> Any:
        """Export as the stock exporter does."""
        call = self._journal.begin(self._stream, (self._number_of(item) for item in batch))
        result = self._exporter.export(batch)
        self._journal.end(call, result.name)
        return result

    def shutdown(self) -> None:
        """Shut down as the stock exporter does."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush as the stock exporter does."""
        return bool(self._exporter.force_flush(timeout_millis))


class _GrpcAnswers(grpc.UnaryUnaryClientInterceptor):
    """Notes each answer of gRPC that is not OK."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """See grpc.UnaryUnaryClientInterceptor."""
        call = continuation(details, request)
        code = call.code()
        if code is not grpc.StatusCode.OK:
            trailers = dict(call.trailing_metadata() or ())
            delay = _retry_delay(trailers.get("grpc-status-details-bin"))
            self._journal.answer("grpc", code.name, delay=delay, ours=bool(trailers), detail=call.details() or "")
        return call


def _retry_delay(details: bytes | None) -> str | None:
    """Return the RetryInfo of a google.rpc.Status in seconds, as text."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    for detail in Status.FromString(details or b"").details:
        info = RetryInfo()
        if detail.Unpack(info):
            return str(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None


def _http_session(journal: Journal) -> requests.Session:
    """Return a session that notes each answer that is not a success."""

    def note(response: requests.Response, **_: Any) -> None:
        if response.status_code >= 300:
            delay = response.headers.get("Retry-After")
            text = response.content[:200].decode(errors="replace")
            journal.answer("http", str(response.status_code), delay=delay, ours=True, detail=text)

    session = requests.Session()
    session.hooks["response"].append(note)
    return session


def exporters(transport: str, endpoint: str, journal: Journal) -> tuple[Any, Any]:
    """Return the stock log and span exporters of ``transport`` at ``endpoint`` (host:port)."""
    if transport == "grpc":
        # The exporter makes its channel anew when the server goes away: watched where it asks for one.
        plain = grpc.insecure_channel

        def watched(*arguments: Any, **named: Any) -> grpc.Channel:
            return grpc.intercept_channel(plain(*arguments, **named), _GrpcAnswers(journal))

        grpc_exporter.insecure_channel = watched
        url = f"http://{endpoint}"
        return GrpcLogExporter(url, insecure=True), GrpcSpanExporter(url, insecure=True)
    base = f"http://{endpoint}"
    return (
        HttpLogExporter(f"{base}/v1/logs", session=_http_session(journal)),
        HttpSpanExporter(f"{base}/v1/traces", session=_http_session(journal)),
    )


class Lane:
    """One logger provider and one tracer provider with their exporters: a stream of log records and one of spans."""

    def __init__(self, process: int, lane: int, transport: str, endpoint: str, journal: Journal) -> None:
        name = f"{process}-{lane}"
        self._streams = (f"logs-{name}", f"spans-{name}")
        resource = Resource({"service.name": f"chaos-{name}"})
        log_exporter, span_exporter = exporters(transport, endpoint, journal)
        recorded_logs: Any = Recorded(
            log_exporter, journal, self._streams[0], lambda item: item.log_record.attributes["chaos.number"]
        )
        recorded_spans: Any = Recorded(
            span_exporter, journal, self._streams[1], lambda item: item.attributes["chaos.number"]
        )
        self._loggers = LoggerProvider(resource)
        self._loggers.add_log_record_processor(
            BatchLogRecordProcessor(
                recorded_logs,
                schedule_delay_millis=EXPORT_EVERY_MS,
                max_queue_size=QUEUE_MAX,
                max_export_batch_size=512,
            )
        )
        self._tracers = TracerProvider(resource=resource)
        self._tracers.add_span_processor(
            BatchSpanProcessor(
                recorded_spans,
                schedule_delay_millis=EXPORT_EVERY_MS,
                max_queue_size=QUEUE_MAX,
                max_export_batch_size=512,
            )
        )
        self._logger = self._loggers.get_logger("chaos")
        self._tracer = self._tracers.get_tracer("chaos")
        self._logged = self._traced = 0

    def emit(self, logs: int, spans: int) -> None:
        """Emit the next records of both streams."""
        for _ in range(logs):
            self._logged += 1
            stream, number = self._streams[0], self._logged
            self._logger.emit(
                LogRecord(
                    timestamp=time.time_ns(),
                    severity_number=SeverityNumber.INFO,
                    severity_text="INFO",
                    body=body_of(stream, number),
                    attributes={"chaos.stream": stream, "chaos.number": number, "route": "/api/orders"},
                )
            )
        for _ in range(spans):
            self._traced += 1
            stream, number = self._streams[1], self._traced
            attributes = {"chaos.stream": stream, "chaos.number": number}
            with self._tracer.start_as_current_span(body_of(stream, number), attributes=attributes):
                pass

    def shutdown(self) -> None:
        """Shut the SDK down: what is queued is exported, for up to 30 s each."""
        threads = [threading.Thread(target=part.shutdown) for part in (self._loggers, self._tracers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main() -> int:
    """Emit until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--process", type=int, required=True)
    parser.add_argument("--transport", choices=("grpc", "http"), required=True)
    parser.add_argument("--endpoint", required=True, help="host:port")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--rate", type=int, default=60, help="log records a second and lane; half as many spans")
    options = parser.parse_args()
    # The SDK's own words about each retry would be thousands of lines; the journal has every answer.
    logging.disable(logging.CRITICAL)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    journal = Journal(options.journal)
    lanes = [Lane(options.process, n, options.transport, options.endpoint, journal) for n in range(options.lanes)]
    began = time.monotonic()
    emitted = 0
    while not stop.wait(TICK_S):
        due = int((time.monotonic() - began) * options.rate)
        # After a pause of the whole machine: no burst, the records of one tick are enough.
        count = min(due - emitted, options.rate)
        emitted = due
        for lane in lanes:
            lane.emit(count, count // 2)
    closing = [threading.Thread(target=lane.shutdown) for lane in lanes]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
