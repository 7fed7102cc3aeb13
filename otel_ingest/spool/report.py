"""What a receiver says about its spool: /metrics, one line for people, and whether it can take requests."""

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from otel_ingest.signals import SIGNALS
from otel_ingest.spool.drain import Drain
from otel_ingest.spool.format import Contents, merged
from otel_ingest.spool.spool import Spool, SpoolCounts
from otel_ingest.store_state import StoreState
from storage.views import Spooled

_FSYNC_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_EMPTY = Contents(0, {}, 0)


class SpoolReport:
    """A prometheus_client collector over the spools of one receiver; the first is its own."""

    def __init__(
        self,
        spools: Sequence[Spool],
        counts: SpoolCounts,
        drain: Drain,
        state: StoreState,
        registry: CollectorRegistry,
    ) -> None:
        self._spools, self._counts, self._drain, self._state = spools, counts, drain, state
        fsync = Histogram(
            "otel_ingest_spool_append_seconds",
            "One append to the spool, fsync included",
            buckets=_FSYNC_BUCKETS_S,
            registry=registry,
        )
        counts.observe_fsync_s = fsync.observe
        registry.register(self)

    def view(self) -> Spooled:
        """Return what is at rest."""
        at_rest = self._contents()
        oldest_s = max(0.0, time.time() - at_rest.oldest_ns / 1e9) if at_rest.requests else 0.0
        return Spooled(
            requests=at_rest.requests,
            records=sum(at_rest.records.values()),
            bytes=sum(s.used_bytes for s in self._spools),
            set_aside_bytes=sum(s.set_aside_bytes for s in self._spools),
            oldest_s=oldest_s,
            state="waiting for PostgreSQL" if self._state.is_away else "draining",
        )

    def readiness(self) -> tuple[bool, str]:
        """Return whether requests can be accepted durably, and a sentence."""
        if not self._state.is_away:
            return True, "ready"
        away = f"PostgreSQL is away for {time.time() - self._state.away_since_s:.0f} s ({self._state.reason})"
        own = self._spools[0]
        if own.refusing:
            return False, f"not ready: {away}, and {own.refusing}"
        if own.used_bytes >= own.bytes_max:
            return False, f"not ready: {away}, and the spool is full ({own.used_bytes} of {own.bytes_max} bytes)"
        return True, f"ready, degraded: {away}; requests go to the spool; {self.view()}"

    def collect(self) -> Iterator[Metric]:
        """Yield what prometheus_client exposes (its Collector interface)."""
        at_rest = self._contents()
        view = self.view()
        records = GaugeMetricFamily(
            "otel_ingest_spooled_records", "Records acknowledged and not in PostgreSQL yet", labels=["signal"]
        )
        for signal in SIGNALS:
            records.add_metric([signal.name], at_rest.records.get(signal.name, 0))
        yield records
        yield GaugeMetricFamily("otel_ingest_store_away", "1 while PostgreSQL takes no writes", self._state.is_away)
        for name, text, value in (
            ("requests", "Requests in the spool", view.requests),
            ("bytes", "Bytes of the spool's files", view.bytes),
            ("bytes_max", "Most of them", self._spools[0].bytes_max),
            ("set_aside_bytes", "Bytes of it that are damaged or can never be stored", view.set_aside_bytes),
            ("oldest_seconds", "Age of the oldest request in it", view.oldest_s),
            ("draining", "1 while it is being drained", self._drain.active and not self._state.is_away),
        ):
            yield GaugeMetricFamily(f"otel_ingest_spool_{name}", text, value)
        counts = self._counts
        for name, text, value in (
            ("spooled_requests", "Requests written to the spool", counts.spooled_requests),
            ("drained_requests", "Requests of the spool that are in PostgreSQL", counts.drained_requests),
            ("refused_requests", "Requests that the spool refused", counts.refused_requests),
        ):
            yield CounterMetricFamily(f"otel_ingest_spool_{name}", text, value)

    def _contents(self) -> Contents:
        total = _EMPTY
        for spool in self._spools:
            total = merged(total, spool.contents)
        return total
