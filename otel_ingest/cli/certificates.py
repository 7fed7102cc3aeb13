"""The certificates of the listeners that have some: read at the start, watched while it runs, shown in /metrics."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from otel_ingest.config import Settings
from otel_ingest.tls import Certificates, watch
from otel_ingest.tls_settings import SIDES, Side

Listeners = dict[Side, Certificates]


def open_certificates(settings: Settings) -> Listeners:
    """Return the certificates by listener; listeners without TLS are left out. Raises TlsError."""
    return {side: Certificates(side, files) for side in SIDES if (files := settings.tls_files(side)) is not None}


def public_names(listeners: Listeners) -> dict[Side, str]:
    """Return a name for each listener's URLs: the first one in its certificate, else this host's."""
    own = socket.gethostname()
    certified = {side: _host_names(listeners[side]) for side in SIDES if side in listeners}
    return {side: next(iter(certified.get(side, ())), own) for side in SIDES}


def known_hosts(settings: Settings, listeners: Listeners) -> tuple[str, ...]:
    """Return the names under which the query side answers MCP: this host's, its certificate's, the settings'.

    None of them can be a name that somebody else points here (DNS rebinding), unless the settings say so.
    """
    certified = _host_names(listeners["query"]) if "query" in listeners else ()
    return tuple(dict.fromkeys([socket.gethostname(), *certified, *settings.query_allowed_hosts]))


def _host_names(certificates: Certificates) -> tuple[str, ...]:
    return tuple(name for name in certificates.current.names if not name.startswith("*"))


def keep_current(settings: Settings, listeners: Listeners, registry: CollectorRegistry, stack: AsyncExitStack) -> None:
    """Watch the files until ``stack`` ends, and show in ``registry`` when each certificate ends."""
    if not listeners:
        return
    task = asyncio.create_task(watch(list(listeners.values()), settings.tls_reload_interval_s))

    async def end() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)
    registry.register(_Expiry(listeners))


class _Expiry:
    """``otel_ingest_tls_certificate_not_after_seconds``: what an alert on a renewal that failed looks at."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    def collect(self) -> Iterator[Metric]:
        """Yield what prometheus_client exposes (its Collector interface)."""
        name = "otel_ingest_tls_certificate_not_after_seconds"
        family = GaugeMetricFamily(name, "End of the certificate in use, seconds since 1970", labels=["listener"])
        for side, certificates in self._listeners.items():
            family.add_metric([side], certificates.current.not_after.timestamp())
        yield family
