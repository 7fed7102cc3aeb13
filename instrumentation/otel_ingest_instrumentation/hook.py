"""The hook that runs after the SDK was configured, however that was: additive, also beside another distribution."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.propagators.composite import CompositePropagator

from otel_ingest_instrumentation import loud, opamp, process, repairs, taps, transport, transport_http, verbose
from otel_ingest_instrumentation.exporters import OtelIngestLogExporter, OtelIngestSpanExporter
from otel_ingest_instrumentation.handler import Handler, adopt
from otel_ingest_instrumentation.levels import current as current_levels
from otel_ingest_instrumentation.propagator import NAME as TRACE_LOG
from otel_ingest_instrumentation.propagator import TraceLogPropagator
from otel_ingest_instrumentation.queue import BatchQueue

_done = False


class _NoExporter:
    def export(self, _batch: Any) -> None:
        """Take nothing."""

    def shutdown(self) -> None:
        """Nothing to end."""


def post_instrument() -> None:
    """Put our queues, handler, exits and repairs in place; once a process, and never an error for the application."""
    global _done  # noqa: PLW0603
    if _done:
        return
    _done = True
    try:
        _install()
    except Exception as error:  # noqa: BLE001
        loud.say(f"set-up: {type(error).__name__}: {error}")


def _install() -> None:
    if not _adopt_queues():  # another distribution is at work alone: nothing of it is touched
        if not _disabled():
            loud.say(
                "installed, but no exporter of ours is in use: what leaves is not redacted and not kept."
                " Set OTEL_PYTHON_DISTRO=otel_ingest, or OTEL_LOGS_EXPORTER and OTEL_TRACES_EXPORTER to otel_ingest"
            )
        return
    process.hook_exits()
    _level()
    handler = next((h for h in logging.getLogger().handlers if adopt(h)), None)
    if isinstance(handler, Handler):
        repairs.install(handler)
        taps.install(handler.handle)
    if process.configuration().trace_header != "off":
        _trace_header()
    _metrics()
    _opamp()
    process.delivery().start()


def _trace_header() -> None:
    """Put the propagator behind the others, where nobody named it, and have marked requests sampled."""
    current = propagate.get_global_textmap()
    if TRACE_LOG not in current.fields:
        propagate.set_global_textmap(CompositePropagator([current, TraceLogPropagator()]))
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    if sampler is not None:
        verbose.forced(sampler)


def _opamp() -> None:
    """Start the agent, where there is an address for it."""
    wanted = process.configuration().opamp
    target = transport.target("logs")
    url = wanted if wanted.lower() != "on" else os.environ.get("OTEL_INGEST_OPAMP_ENDPOINT", "")
    if not url and target.protocol != "grpc":
        base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or "http://localhost:4318"
        url = base.rstrip("/") + opamp.PATH
    if wanted.lower() == "off" or not url:
        return
    client = transport_http.Client(url, target)
    agent = opamp.Agent(client.post, current_levels, _resource())
    process.delivery().on_config = agent.seen
    process.after_fork(client.reset_after_fork)
    process.after_fork(lambda: agent.reset_after_fork(_resource()))
    process.at_end(agent.goodbye)
    agent.start()


def _resource() -> Mapping[str, Any]:
    """Return the attributes of this process's telemetry."""
    providers = (get_logger_provider(), trace.get_tracer_provider())
    found = next((r for p in providers if (r := getattr(p, "resource", None)) is not None), None)
    attributes: Mapping[str, Any] = getattr(found, "attributes", {})
    return attributes


def _disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _adopt_queues() -> int:
    """Put our queue into each batch processor that feeds one of our exporters; return how many feed one."""
    logs = getattr(get_logger_provider(), "_multi_log_record_processor", None)
    spans = getattr(trace.get_tracer_provider(), "_active_span_processor", None)
    found = 0
    for signal, processors in (
        ("logs", getattr(logs, "_log_record_processors", ())),
        ("traces", getattr(spans, "_span_processors", ())),
    ):
        for processor in processors:
            found += _adopt_queue(signal, processor)
    return found


def _adopt_queue(signal: str, processor: Any) -> int:
    batcher = getattr(processor, "_batch_processor", None)
    exporter = getattr(batcher, "_exporter", None) or getattr(processor, "_exporter", None)
    exporter = exporter or getattr(processor, "span_exporter", None)
    if not isinstance(exporter, OtelIngestLogExporter | OtelIngestSpanExporter):
        return 0
    if batcher is None or isinstance(batcher, BatchQueue):
        return 1

    def dropped(count: int, first: int, last: int) -> None:
        process.delivery().losses.add(signal, count, first, last, "the queue was full")

    queue = BatchQueue(
        exporter.export,
        dropped,
        size_max=batcher._max_queue_size,  # noqa: SLF001  # what the standard's variables said
        batch_max=batcher._max_export_batch_size,  # noqa: SLF001
        delay_s=batcher._schedule_delay,  # noqa: SLF001
    )
    queue._exporter = exporter  # type: ignore[attr-defined]  # noqa: SLF001  # BatchSpanProcessor.span_exporter looks for it
    processor._batch_processor = queue  # noqa: SLF001
    process.add_queue(queue)
    batcher.force_flush()
    batcher._exporter = _NoExporter()  # noqa: SLF001
    batcher.shutdown()
    return 1


def _level() -> None:
    """Set the root's level where the application has set none: Python's default hides INFO."""
    wanted = process.configuration().level.upper()
    root = logging.getLogger()
    if logging.getLevelName(taps.TRACE) == f"Level {taps.TRACE}":
        logging.addLevelName(taps.TRACE, "TRACE")
    if wanted == "UNSET" or root.level != logging.WARNING:
        return
    level = logging.getLevelName(wanted)
    if isinstance(level, int):
        root.setLevel(level)
    else:
        loud.say(f"OTEL_INGEST_CLIENT_LEVEL={wanted} is no level")


def _metrics() -> None:
    meter = metrics.get_meter("otel_ingest_instrumentation")

    def lost(_: CallbackOptions) -> list[Observation]:
        return [Observation(count, {"signal": signal}) for signal, count in process.delivery().losses.totals.items()]

    meter.create_observable_counter("otel_ingest.client.lost", [lost], "{record}", "Records dropped by the client")
    meter.create_observable_gauge(
        "otel_ingest.client.spool", [lambda _: [Observation(process.delivery().spool_bytes())]], "By", "Bytes spooled"
    )
