"""PURE: the exposition of a receiver (Prometheus text) -> the numbers a page shows."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

BOOKS = ("received", "stored", "duplicate", "rejected", "refused", "recovered", "spooled")
_SIGNALS = ("logs", "traces", "metrics")
_SINGLE = {
    "otelcol_exporter_queue_size": "queue_bytes",
    "otelcol_exporter_queue_capacity": "queue_bytes_max",
    "otel_ingest_inflight_bytes": "inflight_bytes",
    "otel_ingest_inflight_bytes_max": "inflight_bytes_max",
    "otelcol_process_memory_rss": "memory_bytes",
    "otelcol_process_uptime": "uptime_s",
    "otel_ingest_commit_seconds_sum": "commit_s",
    "otel_ingest_commit_seconds_count": "commits",
    "otel_ingest_unexpected_errors_total": "unexpected_errors",
}


def gauges(exposition: str) -> dict[str, Any]:
    """Return the ledger in records, {signal: {book: records}}, requests by outcome, and single numbers by name.

    Several receivers on one /metrics are added up.
    """
    numbers = dict.fromkeys(_SINGLE.values(), 0.0)
    ledger = {signal: dict.fromkeys(BOOKS, 0) for signal in _SIGNALS}
    requests: dict[str, int] = {}
    for name, labels, value in _samples(exposition):
        if name in _SINGLE:
            numbers[_SINGLE[name]] += value
        elif name == "otel_ingest_requests_total":
            requests[labels["outcome"]] = requests.get(labels["outcome"], 0) + int(value)
        else:
            book = name.removeprefix("otel_ingest_").removesuffix("_total").removesuffix("_records")
            if book in BOOKS and labels.get("signal") in ledger and name.startswith("otel_ingest_"):
                ledger[labels["signal"]][book] += int(value)
    return {"ledger": ledger, "requests": requests, **numbers}


def _samples(exposition: str) -> Iterable[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
