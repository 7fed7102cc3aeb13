"""From the SDK's records to what may leave: copies, redacted, repaired; then encoded. Fails closed.

A record in which nothing is found is not copied. One whose redaction fails leaves without any text.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, Status

from otel_ingest_instrumentation.redaction import FAILED, Redactor

REDACTED_KEY = "otel_ingest.redacted"
FOUND_MAX = 32  # places named on a record; a record of more says so
_TRACE_NUMBERS = {
    9: SeverityNumber.TRACE4,
    8: SeverityNumber.TRACE3,
    7: SeverityNumber.TRACE2,
    6: SeverityNumber.TRACE2,
}
_DEBUG = 10

Hook = Callable[[str, str], str]


class Cleaner:
    """Redacts records; ``redactor`` None: the rules are unusable, and no text leaves."""

    def __init__(self, redactor: Redactor | None, hook: Hook | None = None) -> None:
        """Take the compiled rules; ``hook``: the user's function for each text, after them."""
        self._redactor = redactor
        self._hook = hook
        self._resources: dict[int, tuple[Resource, Resource]] = {}

    def log(self, record: ReadableLogRecord) -> ReadableLogRecord:
        """Return a log record that may leave."""
        source = record.log_record
        found: set[str] = set()
        resource = self.resource(record.resource)
        number = severity(source.severity_number, source.severity_text)
        if self._clean((source.body, source.event_name), source.attributes):
            return (
                record
                if number is source.severity_number and resource is record.resource
                else _log(record, resource, number)
            )
        try:
            body = self._value(source.body, "body", found)
            attributes = self._attributes(source.attributes or {}, "", found)
            event = self._text(source.event_name, "event_name", found)
        except Exception:  # noqa: BLE001  # whatever it was: nothing unredacted leaves
            body, attributes, event, found = FAILED, {}, None, {"record:failed"}
        out = _log(record, resource, number)
        if found:
            out.log_record.body = body
            out.log_record.event_name = event
            out.log_record.attributes = _bounded(_noted(attributes, found), source.attributes)
        return out

    def span(self, span: ReadableSpan) -> ReadableSpan:
        """Return a span that may leave."""
        found: set[str] = set()
        resource = self.resource(span.resource)
        if resource is span.resource and self._clean_span(span):
            return span
        try:
            name = self._text(span.name, "name", found) or ""
            attributes = self._attributes(span.attributes or {}, "", found)
            events = [self._event(e, found) for e in span.events]
            links = [self._link(link, found) for link in span.links]
            status = Status(span.status.status_code, self._text(span.status.description, "status", found))
        except Exception:  # noqa: BLE001
            name, attributes, events, links = FAILED, {}, [], []
            status, found = Status(span.status.status_code), {"record:failed"}
        if not found and resource is span.resource:
            return span
        kept_events: Any = BoundedList.from_seq(None, events)
        kept_events.dropped = span.dropped_events
        kept_links: Any = BoundedList.from_seq(None, links)
        kept_links.dropped = span.dropped_links
        return ReadableSpan(
            name=name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=resource,
            attributes=_bounded(_noted(attributes, found), span.attributes),
            events=kept_events,
            links=kept_links,
            kind=span.kind,
            status=status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def resource(self, resource: Resource) -> Resource:
        """Return a resource that may leave; made once for each."""
        known = self._resources.get(id(resource))
        if known is not None and known[0] is resource:
            return known[1]
        found: set[str] = set()
        try:
            attributes = self._attributes(resource.attributes, "", found)
        except Exception:  # noqa: BLE001
            attributes, found = {"service.name": "unknown_service"}, {"resource:failed"}
        clean = Resource(_noted(attributes, found), resource.schema_url) if found else resource
        if len(self._resources) > 64:  # noqa: PLR2004  # a process has one; a test may have many
            self._resources.clear()
        self._resources[id(resource)] = (resource, clean)
        return clean

    def message(self, message: Any) -> None:
        """Redact every attribute of an OTLP message in place: metrics, whose points are many and texts few."""
        for field, value in message.ListFields():
            if field.name in ("attributes", "filtered_attributes", "metadata"):
                for pair in value:
                    self._pair(pair)
            elif field.message_type is not None and field.message_type.name != "AnyValue":
                for part in value if isinstance(value, Sequence) or hasattr(value, "__len__") else (value,):
                    self.message(part)

    def _pair(self, pair: Any) -> None:
        """Redact one KeyValue: metric attributes are scalars and short lists."""
        if pair.value.WhichOneof("value") != "string_value":
            return
        found: set[str] = set()
        try:
            clean = self._attributes({pair.key: pair.value.string_value}, "", found)
            pair.value.string_value = str(next(iter(clean.values()), ""))
        except Exception:  # noqa: BLE001
            pair.value.string_value = FAILED

    def _clean(self, texts: Sequence[Any], attributes: Mapping[str, Any] | None) -> bool:
        """Return whether there is nothing to do: one search over all texts, for the clean many."""
        if self._redactor is None or self._hook is not None:
            return False
        try:
            return self._redactor.clean(texts, attributes or {})
        except Exception:  # noqa: BLE001  # the long way says what is wrong
            return False

    def _clean_span(self, span: ReadableSpan) -> bool:
        return (
            self._clean((span.name, span.status.description), span.attributes)
            and all(self._clean((event.name,), event.attributes) for event in span.events)
            and all(self._clean((), link.attributes) for link in span.links)
        )

    def _event(self, event: Event, found: set[str]) -> Event:
        mine: set[str] = set()
        name = self._text(event.name, "event", mine) or ""
        attributes = self._attributes(event.attributes or {}, "event", mine)
        if not mine:
            return event
        found |= mine
        return Event(name, _bounded(attributes, event.attributes), event.timestamp)

    def _link(self, link: Link, found: set[str]) -> Link:
        mine: set[str] = set()
        attributes = self._attributes(link.attributes or {}, "link", mine)
        if not mine:
            return link
        found |= mine
        return Link(link.context, _bounded(attributes, link.attributes))

    def _attributes(self, attributes: Mapping[str, Any], path: str, found: set[str]) -> dict[str, Any]:
        if self._redactor is None:
            found.add(f"{path or 'attributes'}:failed")
            return {
                key: FAILED if isinstance(value, str | bytes | Sequence | Mapping) else value
                for key, value in attributes.items()
            }
        clean = self._redactor.mapping(attributes, path, found)
        return {k: self._hooked(v, k, found) for k, v in clean.items()} if self._hook else clean

    def _value(self, value: Any, path: str, found: set[str]) -> Any:
        if self._redactor is None:
            found.add(f"{path}:failed")
            return FAILED
        clean = self._redactor.value(value, path, found)
        return self._hooked(clean, path, found) if self._hook else clean

    def _text(self, value: str | None, path: str, found: set[str]) -> str | None:
        return value if not value else str(self._value(value, path, found))

    def _hooked(self, value: Any, path: str, found: set[str]) -> Any:
        if isinstance(value, str) and self._hook is not None:
            out = str(self._hook(path, value))
            if out != value:
                found.add(f"{path}:callable")
            return out
        if isinstance(value, Mapping):
            return {k: self._hooked(v, f"{path}.{k}", found) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._hooked(v, path, found) for v in value]
        return value


def _log(record: ReadableLogRecord, resource: Resource, number: SeverityNumber | None) -> ReadableLogRecord:
    out = copy.copy(record.log_record)
    out.severity_number = number
    return ReadableLogRecord(out, resource, record.instrumentation_scope, record.limits)


def severity(number: SeverityNumber | None, text: str | None) -> SeverityNumber | None:
    """Return the severity; Python's levels below DEBUG (10) are TRACE to TRACE4, which the SDK does not know."""
    if number not in (None, SeverityNumber.UNSPECIFIED) or not text:
        return number
    if text.startswith("Level "):
        tail = text[6:]
        level = int(tail) if tail.isdigit() else 0
    else:
        named = logging.getLevelName(text)
        level = named if isinstance(named, int) else 0
    return _TRACE_NUMBERS.get(level, SeverityNumber.TRACE) if 0 < level < _DEBUG else number


def _noted(attributes: dict[str, Any], found: set[str]) -> dict[str, Any]:
    places = sorted(found)
    if len(places) > FOUND_MAX:
        places = [*places[:FOUND_MAX], f"and {len(places) - FOUND_MAX} more"]
    return attributes | {REDACTED_KEY: places}


def _bounded(attributes: Mapping[str, Any], source: Any) -> BoundedAttributes:
    """Return attributes that keep the count of what the SDK dropped before."""
    out = BoundedAttributes(attributes=attributes, immutable=False)
    out.dropped = getattr(source, "dropped", 0)
    return out
