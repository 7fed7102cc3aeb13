"""What may leave of a record: copies, repairs, and that nothing does where redaction fails."""

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from otel_ingest_instrumentation import encoding, loud, settings
from otel_ingest_instrumentation.records import REDACTED_KEY, Cleaner, severity
from otel_ingest_instrumentation.redaction import FAILED, Redactor, patterns, shared_rules

CLEANER = Cleaner(Redactor(shared_rules()))


def record(body: Any, attributes: Mapping[str, Any] | None = None, **resource: str) -> ReadableLogRecord:
    """Return a log record as the SDK hands it to an exporter."""
    made = ReadWriteLogRecord(LogRecord(body=body, attributes=dict(attributes or {})), Resource(resource))
    assert made.resource is not None
    return ReadableLogRecord(made.log_record, made.resource)


def test_a_clean_record_is_not_copied_and_a_dirty_one_is_not_changed() -> None:
    """What other exporters of the process see stays as the application made it."""
    clean = record("order shipped", {"order": 7, "path": "/x?page=2"})
    dirty = record("password=hunter2", {"token": "x1"})
    out = CLEANER.log(dirty)

    assert CLEANER.log(clean) is clean
    assert dirty.log_record.body == "password=hunter2"
    assert dict(dirty.log_record.attributes or {}) == {"token": "x1"}
    assert out.log_record.body == "password=[REDACTED]"
    assert dict(out.log_record.attributes or {}) == {
        "token": "[REDACTED]",
        REDACTED_KEY: ("body:key", "token:key"),
    } or list((out.log_record.attributes or {})[REDACTED_KEY]) == ["body:key", "token:key"]  # type: ignore[arg-type]


def test_a_resource_is_redacted_too() -> None:
    """Command lines stand there."""
    out = CLEANER.log(record("x", None, note="run --password hunter2"))

    assert "hunter2" not in str(dict(out.resource.attributes))


def test_a_request_is_what_the_sdk_would_have_made() -> None:
    """Record by record, of several resources and scopes: the same message as from the SDK's own encoders."""
    scopes = (InstrumentationScope("a", "1", "https://x/schema", {"k": 1}), InstrumentationScope("b"), None)
    resources = (Resource({"service.name": "one"}, "https://y"), Resource({"service.name": "two"}))
    records = [
        ReadableLogRecord(LogRecord(timestamp=i, body=f"{'long ' * i}{i}", attributes={"i": i}), r, scope)
        for i, (r, scope) in enumerate(product(resources, scopes))
    ] * 3
    body, count = encoding.logs(records, CLEANER.log)
    assert count == len(records)
    assert ExportLogsServiceRequest.FromString(body) == encode_logs(records)

    spans = [
        ReadableSpan("x" * 200, SpanContext(1, i + 1, is_remote=False), resource=r) for i, r in enumerate(resources * 2)
    ]
    body, count = encoding.spans(spans, CLEANER.span)
    assert count == len(spans)
    assert ExportTraceServiceRequest.FromString(body) == encode_spans(spans)


def test_a_record_that_cannot_be_encoded_costs_only_itself() -> None:
    """Its neighbours are in the request, and the count says how many."""
    bad = record("x")
    bad.log_record.severity_text = 7  # type: ignore[assignment]
    body, count = encoding.logs([record("before"), bad, record("after")], CLEANER.log)

    kept = [
        r.body.string_value
        for g in ExportLogsServiceRequest.FromString(body).resource_logs
        for r in g.scope_logs[0].log_records
    ]
    assert (count, kept) == (2, ["before", "after"])


class Broken(Redactor):
    """A redactor that fails on its second look."""

    def value(self, value: Any, path: str, found: set[str], depth: int = 0) -> Any:
        raise RuntimeError("broken")

    def clean(self, texts: Any, attributes: Any) -> bool:
        raise RuntimeError("broken")


@pytest.mark.parametrize("cleaner", [Cleaner(Broken(shared_rules())), Cleaner(None)], ids=["raises", "unusable rules"])
def test_nothing_leaves_where_redaction_fails(cleaner: Cleaner) -> None:
    """No text of the record, its span or its resource; the ids, times and severities do."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("t").start_span("SECRET", attributes={"a": "SECRET"})
    span.add_event("SECRET", {"b": "SECRET"})
    span.set_status(Status(StatusCode.ERROR, "SECRET"))
    span.end()
    clean = cleaner.span(exporter.get_finished_spans()[0])
    log = cleaner.log(record("SECRET", {"a": "SECRET", "b": ["SECRET"]}, c="SECRET"))
    metric = Metric(name="m")
    metric.sum.data_points.add().attributes.add(key="a").value.string_value = "SECRET"
    cleaner.message(metric)

    assert log.log_record.body == FAILED
    assert (
        "SECRET" not in f"{log.log_record.body}{dict(log.log_record.attributes or {})}{dict(log.resource.attributes)}"
    )
    assert b"SECRET" not in encode_spans([clean]).SerializeToString()
    assert b"SECRET" not in metric.SerializeToString()
    assert clean.context == exporter.get_finished_spans()[0].context


def test_every_place_of_a_span() -> None:
    """Name, attributes, events, links, status; kinds, times and dropped counts stay."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    other = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    span = provider.get_tracer("t").start_span(
        "GET /?token=S3CRET1",
        attributes={"url.full": "http://u:S3CRET1@h/"},
        links=[Link(other, {"password": "S3CRET1"})],
    )
    span.add_event("e", {"exception.message": "password=S3CRET1"})
    span.set_status(Status(StatusCode.ERROR, "api_key=S3CRET1"))
    span.end()
    before = exporter.get_finished_spans()[0]
    after = CLEANER.span(before)

    assert b"S3CRET1" in encode_spans([before]).SerializeToString()
    assert b"S3CRET1" not in encode_spans([after]).SerializeToString()
    assert (after.start_time, after.end_time, after.kind) == (before.start_time, before.end_time, before.kind)
    assert after.links[0].context == other


def test_metric_attributes_are_redacted() -> None:
    """In points of any kind, in place."""
    metric = Metric(name="m")
    point = metric.histogram.data_points.add()
    point.attributes.add(key="url").value.string_value = "/x?token=S3CRET1"
    point.exemplars.add().filtered_attributes.add(key="password").value.string_value = "S3CRET1"
    CLEANER.message(metric)

    assert b"S3CRET1" not in metric.SerializeToString()
    assert point.attributes[0].value.string_value == "/x?token=[REDACTED]"


def test_levels_below_debug_are_trace() -> None:
    """5 is TRACE, up to 9 are TRACE2 to TRACE4; what has a number keeps it."""
    numbers = [severity(SeverityNumber.UNSPECIFIED, f"Level {n}") for n in (1, 5, 7, 8, 9)]

    assert [n.value for n in numbers if n is not None] == [1, 1, 2, 3, 4]
    assert severity(SeverityNumber.INFO, "Level 5") is SeverityNumber.INFO
    assert severity(None, "LOUD") is None


def test_own_rules_by_variable_file_and_callable(tmp_path: Path) -> None:
    """Names from both, a pattern from the file, and the user's function last."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"names": ["badge"], "patterns": [{"name": "patient", "pattern": "P-[0-9]{6}"}]}))
    env = {
        "OTEL_INGEST_CLIENT_REDACT_RULES": str(rules),
        "OTEL_INGEST_CLIENT_REDACT_NAMES": "locker, shoe-size",
        "OTEL_INGEST_CLIENT_REDACT_CALLABLE": f"{__name__}:shout",
    }
    cleaner = Cleaner(*settings.read_redaction(env))
    out = cleaner.log(record("P-123456 seen", {"badge": "b1", "shoeSize": 44, "locker": "l", "x": ["hello"]}))

    assert out.log_record.body == "[REDACTED] SEEN"
    got = dict(out.log_record.attributes or {})
    assert (got["badge"], got["shoeSize"], got["locker"]) == ("[REDACTED]",) * 3
    assert list(got["x"]) == ["HELLO"]  # type: ignore[arg-type]


def test_own_patterns_without_the_linear_engine_are_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they cost is not bounded then; nothing is taken for known by its shape."""
    monkeypatch.setattr(loud, "_last", {})
    monkeypatch.setattr(patterns, "re2", None)
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"patterns": [{"name": "card", "pattern": "P-[13579]{6}"}]}))
    cleaner = Cleaner(*settings.read_redaction({"OTEL_INGEST_CLIENT_REDACT_RULES": str(rules)}))
    even = record("P-222222 seen")

    assert "google-re2 is not installed" in capfd.readouterr().err
    assert all(cleaner.log(even) is even for _ in range(3))
    assert cleaner.log(record("P-133333 seen")).log_record.body == "[REDACTED] seen"


def shout(_path: str, text: str) -> str:
    """Stand for a user's function."""
    return text.upper()


@pytest.mark.parametrize(
    "env",
    [
        {"OTEL_INGEST_CLIENT_REDACT_MODE": "shred"},
        {"OTEL_INGEST_CLIENT_REDACT_RULES": "/nonexistent"},
        {"OTEL_INGEST_CLIENT_REDACT_CALLABLE": "nowhere:at_all"},
        {"OTEL_INGEST_CLIENT_REDACT_DISABLE": "nonsense"},
    ],
)
def test_unusable_rules_close_the_pipe_loudly(
    env: dict[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says why, and no text leaves."""
    monkeypatch.setattr(loud, "_last", {})

    assert settings.read_redaction(env) == (None, None)
    assert "the redaction rules are unusable, every text is replaced" in capfd.readouterr().err
