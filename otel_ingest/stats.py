"""Counters of the receiver, by the names the OpenTelemetry Collector uses where it has them.

The ledger: for each signal, received + recovered = stored + rejected + refused + duplicate + what is in the spool, at
rest, in records counted after decoding. ``duplicate``: of a request that was stored before; acknowledged, and not
stored again. ``recovered``: found in a spool that a former process left. What is refused before it is decoded is
counted in requests (``otel_ingest_requests``): how many records it held is unknown.
"""

import os
import resource
import time
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from otel_ingest.budget import Budget
from otel_ingest.signals import SIGNALS, Signal
from storage.api import Outcome

_BOOKS = ("received", "stored", "rejected", "refused", "duplicate", "recovered")
_COMMIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_BUCKETS = (1, 10, 100, 512, 2_048, 8_192, 32_768, 131_072)


class ReceiverStats:
    """All counters of one receiver, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._ledger: dict[str, dict[str, int]] = {s.name: dict.fromkeys(_BOOKS, 0) for s in SIGNALS}
        self._by_transport: dict[tuple[str, str, str], int] = {}
        self._requests: dict[tuple[str, str, str], int] = {}
        self._started = time.time()
        self.commit_s = Histogram(
            "otel_ingest_commit_seconds",
            "One group commit, COPY included",
            buckets=_COMMIT_BUCKETS_S,
            registry=registry,
        )
        self.batch_rows = Histogram(
            "otel_ingest_commit_rows",
            "Rows in one group commit",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.bugs = Counter("otel_ingest_unexpected_errors", "Errors that nobody foresaw", registry=registry)
        self.redactions = Counter(
            "otel_ingest_redacted",
            "Records, resources and scopes with secrets that a client let through, masked here",
            ["signal", "rule"],
            registry=registry,
        )
        self.queue_bytes = 0
        self.queue_capacity_bytes = 0
        self.budget: Budget | None = None
        registry.register(self)

    def received(self, signal: Signal, records: int) -> None:
        """Count decoded records, good and bad."""
        self._ledger[signal.name]["received"] += records

    def settled(
        self,
        signal: Signal,
        transport: str,
        *,
        stored: int = 0,
        rejected: int = 0,
        refused: int = 0,
        duplicate: int = 0,
        spooled: int = 0,
    ) -> None:
        """Count what became of records that were received; the spool itself counts what is in it."""
        book = self._ledger[signal.name]
        book["stored"] += stored
        book["rejected"] += rejected
        book["refused"] += refused
        book["duplicate"] += duplicate
        for name, records in (("accepted", stored + duplicate + spooled), ("refused", refused), ("failed", rejected)):
            if records or name != "failed":
                key = (name, signal.metric_noun, transport)
                self._by_transport[key] = self._by_transport.get(key, 0) + records

    def redacted(self, signal: Signal, rules: Mapping[str, int]) -> None:
        """Count what the second line masked, {rule: records}."""
        for rule, records in rules.items():
            self.redactions.labels(signal.name, rule).inc(records)

    def recovered(self, records: Mapping[str, int]) -> None:
        """Count what was found in a spool, {signal: records}."""
        for name, count in records.items():
            self._ledger[name]["recovered"] += count

    def drained(self, signal: Signal, spooled: int, rows: int, outcome: Outcome) -> None:
        """Count what became of ``spooled`` records of a request from the spool, which decoded to ``rows`` now."""
        book = self._ledger[signal.name]
        # Another release may decode other records from the same bytes.
        book["recovered"] += max(0, rows - spooled)
        book["rejected"] += len(outcome.rejected) + max(0, spooled - rows)
        kept = "stored" if outcome.duplicate_age_s is None else "duplicate"
        book[kept] += rows - len(outcome.rejected)

    def lost(self, signal_name: str, records: int) -> None:
        """Count records that were damaged in the spool, or can never be stored."""
        self._ledger[signal_name]["rejected"] += records

    def request(self, signal: Signal, transport: str, outcome: str) -> None:
        """Count one request: accepted, partial, refused (transient), failed (the sender's fault)."""
        key = (signal.name, transport, outcome)
        self._requests[key] = self._requests.get(key, 0) + 1

    def ledger(self) -> dict[str, dict[str, int]]:
        """Return {signal: {received, stored, rejected, refused, duplicate}} in records."""
        return {name: dict(book) for name, book in self._ledger.items()}

    def collect(self) -> Iterator[Metric]:
        """Yield what prometheus_client exposes (its Collector interface)."""
        yield from self._records()
        yield from self._queue()
        yield from self._process()

    def _records(self) -> Iterator[Metric]:
        for book in _BOOKS:
            name = f"otel_ingest_{book}_records"
            family = CounterMetricFamily(name, f"Records {book}", labels=["signal"])
            for signal, books in self._ledger.items():
                family.add_metric([signal], books[book])
            yield family
        for outcome in ("accepted", "refused", "failed"):
            for signal_ in SIGNALS:
                # A gauge by type for its name's sake: the Collector exposes these without _total.
                family_ = _Unsuffixed(f"otelcol_receiver_{outcome}_{signal_.metric_noun}", f"Records {outcome}")
                for transport in ("grpc", "http"):
                    value = self._by_transport.get((outcome, signal_.metric_noun, transport), 0)
                    family_.add(value, receiver="otlp", transport=transport)
                yield family_.metric
        requests = CounterMetricFamily("otel_ingest_requests", "Requests", labels=["signal", "transport", "outcome"])
        for labels, count in self._requests.items():
            requests.add_metric(labels, count)
        yield requests

    def _queue(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("otelcol_exporter_queue_size", "Bytes waiting for a commit", self.queue_bytes)
        yield GaugeMetricFamily("otelcol_exporter_queue_capacity", "Most of them, bytes", self.queue_capacity_bytes)
        if self.budget is not None:
            yield GaugeMetricFamily("otel_ingest_inflight_bytes", "Weight of all requests", self.budget.used_bytes)
            yield GaugeMetricFamily("otel_ingest_inflight_bytes_max", "Most of it", self.budget.limit_bytes)

    def _process(self) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield GaugeMetricFamily("otelcol_process_memory_rss", "Resident bytes", _resident_bytes())
        yield (_Unsuffixed("otelcol_process_cpu_seconds", "CPU seconds").add(usage.ru_utime + usage.ru_stime).metric)
        yield (_Unsuffixed("otelcol_process_uptime", "Seconds since the start").add(time.time() - self._started).metric)


class _Unsuffixed:
    """A counter exposed under its bare name, as Collector dashboards query it."""

    def __init__(self, name: str, documentation: str) -> None:
        self.metric = Metric(name, documentation, "unknown")

    def add(self, value: float, **labels: Any) -> "_Unsuffixed":
        """Add one sample."""
        self.metric.add_sample(self.metric.name, labels, value)
        return self


def _resident_bytes() -> int:
    """Return the resident memory of this process; its peak where there is no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read on every scrape
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
