"""The propagator of X-Trace-Log: whose wish counts, and how it travels on (docs/x-trace-log.md).

``opentelemetry.propagate`` imports this module while it is being imported itself: what needs it is imported later.
"""

import ipaddress
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)

from otel_ingest_instrumentation import loud, trace_token, verbose

NAME = "x-trace-log"
_OPEN = frozenset({"true", "1"})
_NEAR = (".local", ".internal", ".svc", ".cluster.local")
_HOST_ATTRIBUTES = ("server.address", "net.peer.name", "http.host")
_URL_ATTRIBUTES = ("url.full", "http.url")


def near(host: str, allowed: Sequence[str]) -> bool:
    """Return whether a host may learn of the wish: one of ``allowed``, or by default whatever is not the open net."""
    host = host.lower().strip("[]")
    if allowed:
        return any(fnmatch(host, pattern.lower()) for pattern in allowed)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_NEAR)
    return address.is_loopback or address.is_private


def target_host(context: Context | None) -> str | None:
    """Return the host that the current client span is for; None where it does not say."""
    span = trace.get_current_span(context)
    attributes: Any = getattr(span, "attributes", None) or {}
    for name in _URL_ATTRIBUTES:
        if url := attributes.get(name):
            return urlsplit(str(url)).hostname
    for name in _HOST_ATTRIBUTES:
        if value := attributes.get(name):
            text = str(value)
            return text if ":" in text and not text.startswith("[") and text.count(":") > 1 else text.rsplit(":", 1)[0]
    return None


def _settings() -> Any:
    from otel_ingest_instrumentation import process  # noqa: PLC0415

    return process.configuration()


class TraceLogPropagator(TextMapPropagator):
    """Stands last in OTEL_PROPAGATORS, behind ``baggage``."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Mark the context where header or baggage entry hold a valid wish; take an invalid entry out of baggage."""
        context = Context() if context is None else context
        try:
            return self._extract(carrier, context, getter)
        except Exception as error:  # noqa: BLE001  # a carrier's oddity is no business of the request
            loud.say(f"{NAME}: {type(error).__name__}: {error}", kind=NAME)
            return context

    def _extract(self, carrier: CarrierT, context: Context, getter: Getter[CarrierT]) -> Context:
        settings = _settings()
        if settings.trace_header == "off":
            return context
        entry = baggage.get_baggage(NAME, context)
        if entry is not None:
            context = baggage.remove_baggage(NAME, context)
        for value in (*(getter.get(carrier, NAME) or ()), *((str(entry),) if entry is not None else ())):
            text = value.strip()
            open_to_all = settings.trace_header == "open" and text.lower() in _OPEN
            if open_to_all or trace_token.valid(text, settings.trace_secret, time.time()):
                return verbose.marked(context, "true" if open_to_all else text, settings.trace_records_max)
        return context

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Pass the wish on, as header and as baggage entry, to whom it may concern."""
        mark = verbose.mark_of(context)
        if mark is None:
            return
        host = target_host(context)
        if host is not None and not near(host, _settings().trace_hosts):
            return
        from opentelemetry import propagate  # noqa: PLC0415

        setter.set(carrier, NAME, mark.value)
        if "baggage" in propagate.get_global_textmap().fields:
            W3CBaggagePropagator().inject(carrier, baggage.set_baggage(NAME, mark.value, context), setter)

    @property
    def fields(self) -> set[str]:
        """The header that ``inject`` sets."""
        return {NAME}
