"""PURE: masks what is secret in OTLP messages, in place, by the clients' engine; ``redact`` says in which to look.

What decode will reject anyway, values nested too deeply, stays as it came: whether a record is rejected never depends
on whether something in it looks like a secret.
"""

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_ingest.encode.envelopes import value_of
from otel_ingest.limits import Limits
from otel_ingest.redaction import DROPPED, FAILED, Redactor
from otel_ingest.signals import LOGS, METRICS, TRACES

# Shown on a record that was changed: which fields, by which rules; never the secret.
NOTE_KEY = "otel_ingest.redacted"
_NOTE_CHARS_MAX = 512
_POINTS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_SCALARS = frozenset({None, "string_value", "bool_value", "int_value", "double_value", "bytes_value"})


class _TwinsError(ValueError):
    """A map that has a key twice, which no Python value shows."""


class MessageRedactor:
    """Masks messages; safe to share between threads. Each method returns the rules that matched.

    ``masks_deep``: whether what nests deeper than is stored is masked too, where it is shown and not decoded.
    """

    def __init__(self, rules: Mapping[str, Any], *, masks_deep: bool = False) -> None:
        # One more than is stored: a body is counted from 0, an attribute's value from 1.
        self._redactor = Redactor(rules, depth_max=Limits().value_depth_max + 1)
        self._masks_deep = masks_deep

    def text(self, text: str) -> str:
        """Return a text without its secrets."""
        return self._redactor.text(text, "", set())

    def is_secret(self, key: str) -> bool:
        """Return whether any value of this name is to be masked."""
        rules: set[str] = set()
        self._redactor.field(key, "x", rules)
        return bool(rules)

    def holder(self, holder: Any) -> set[str]:
        """Mask the attributes of a resource or scope."""
        return _rules(self._attributes(holder.attributes))

    def log_record(self, record: Any) -> set[str]:
        """Mask the secrets of a LogRecord."""
        found = self._attributes(record.attributes) | self._texts(record, "event_name")
        if record.HasField("body"):
            found |= self._body(record.body)
        _note(record.attributes, found)
        return _rules(found)

    def span(self, span: Any) -> set[str]:
        """Mask the secrets of a Span, its events, links and status."""
        found = self._attributes(span.attributes) | self._texts(span, "name", "trace_state")
        found |= self._texts(span.status, "message")
        for event in span.events:
            found |= self._attributes(event.attributes) | self._texts(event, "name")
        for link in span.links:
            found |= self._attributes(link.attributes) | self._texts(link, "trace_state")
        _note(span.attributes, found)
        return _rules(found)

    def metric(self, metric: Any) -> set[str]:
        """Mask the secrets in a Metric's points and exemplars."""
        found = self._attributes(metric.metadata)
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points if kind in _POINTS else ():
            found |= self._attributes(point.attributes)
            for exemplar in getattr(point, "exemplars", ()):
                found |= self._attributes(exemplar.filtered_attributes)
        return _rules(found)

    def _attributes(self, pairs: Any) -> set[str]:
        """Mask values of KeyValues; a field that is to go loses its value."""
        found: set[str] = set()
        for pair in pairs:
            try:
                found |= self._pair(pair)
            except Exception:  # noqa: BLE001 - whatever it is: what could not be looked at is not kept
                pair.value.CopyFrom(value_of(FAILED))
                found.add(f"{pair.key}:failed")
        return found

    def _pair(self, pair: Any) -> set[str]:
        rules: set[str] = set()
        try:
            value = _plain(pair.value)
        except _TwinsError:
            key, clean = self._redactor.field(pair.key, "x", rules)
            if not rules:
                return self._parts(pair.value, pair.key)
        else:
            if self._redactor.clean((), {pair.key: value}):
                return rules
            key, clean = self._redactor.field(pair.key, value, rules)
        if not rules or self._stays(rules):
            return set()
        pair.key = key
        pair.value.CopyFrom(AnyValue() if clean is DROPPED else value_of(clean))
        return rules

    def _value(self, value: AnyValue, path: str) -> set[str]:
        found: set[str] = set()
        try:
            clean = self._redactor.value(_plain(value), path, found)
        except _TwinsError:
            return self._parts(value, path)
        if not found or self._stays(found):
            return set()
        value.CopyFrom(value_of(clean))
        return found

    def _body(self, body: AnyValue) -> set[str]:
        try:
            return self._value(body, "body")
        except Exception:  # noqa: BLE001 - as above
            body.CopyFrom(value_of(FAILED))
            return {"body:failed"}

    def _parts(self, value: AnyValue, path: str) -> set[str]:
        """Mask a map or list that holds, somewhere, a key twice: part by part, for each of the two is kept."""
        if value.WhichOneof("value") == "kvlist_value":
            return self._attributes(value.kvlist_value.values)
        items = value.array_value.values
        scalar = [item.WhichOneof("value") in _SCALARS for item in items]
        # Maps stand for none there: what follows `--password` in a list of arguments is text.
        shown = [_plain(item) if alone else None for item, alone in zip(items, scalar, strict=True)]
        found: set[str] = set()
        clean = self._redactor.value(shown, path, found)
        for item, alone, before, after in zip(items, scalar, shown, clean, strict=True):
            if not alone:
                found |= self._value(item, path)
            elif before != after:
                item.CopyFrom(value_of(after))
        return found

    def _stays(self, rules: set[str]) -> bool:
        """Return whether a value is left as it came, because decode rejects its record."""
        return not self._masks_deep and any(rule.endswith(":depth") for rule in rules)

    def _texts(self, holder: Any, *names: str) -> set[str]:
        found: set[str] = set()
        for name in names:
            if text := getattr(holder, name):
                rules: set[str] = set()
                clean = self._redactor.text(text, name, rules)
                if rules:
                    setattr(holder, name, clean)
                    found |= rules
        return found


RECORDS: dict[str, Callable[[MessageRedactor, Any], set[str]]] = {
    LOGS.name: MessageRedactor.log_record,
    TRACES.name: MessageRedactor.span,
    METRICS.name: MessageRedactor.metric,
}
"""Signal -> what masks one record of it."""


def _note(attributes: Any, found: set[str]) -> None:
    if found:
        text = ",".join(sorted(found))[:_NOTE_CHARS_MAX]
        attributes.add(key=NOTE_KEY).value.string_value = text


def _rules(found: set[str]) -> set[str]:
    """Return the rules alone: paths may hold what a sender chose."""
    return {entry.rpartition(":")[2] for entry in found}


def _plain(value: AnyValue) -> Any:
    """Return the Python value of an AnyValue. Raises _TwinsError where none shows all of it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        shown = {pair.key: _plain(pair.value) for pair in pairs}
        if len(shown) != len(pairs):
            raise _TwinsError
        return shown
    return getattr(value, kind) if kind and kind != "string_value_strindex" else None
