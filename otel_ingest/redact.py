"""PURE: the second line of redaction: what a client let through is masked before it becomes a row.

The rules and the engine are the clients' own (``instrumentation/redaction``), so that one table of vectors holds all of
them together. A request is searched as bytes: by value with the rules' own triggers, by name where a sensitive word
stands in an attribute's key. Of most requests compiled code says that neither is there, in 0.2 us a record; the others
are searched with google-re2, which is linear and takes 1.1. Only a request with a hit is looked at record by record.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from otel_ingest import native
from otel_ingest.decode.context import component_of
from otel_ingest.limits import Limits
from otel_ingest.message_redaction import RECORDS, MessageRedactor
from otel_ingest.native.expressions import NotExpressibleError
from otel_ingest.native.search import Asking, FirstLook, Pattern
from otel_ingest.redaction.patterns import compile_pattern
from otel_ingest.signals import Signal
from otel_ingest.wire import Encoding, Parsed, json_mapping, parse
from otel_ingest.wire.parsed import Form
from otel_ingest.wire.protobuf import parse_whole

# What may stand in a key between the letters of a word, and behind it until the tag of the value (field 2), or of the
# next item of a list (field 1): `--api-key` there is a name as well.
_BETWEEN = "[^A-Za-z0-9]{0,2}"
_REST = r"[A-Za-z0-9_.@$/:\[\] -]{0,64}[\x12\n]"
# The boundary before a match in a rule's pattern; the tag of a text field, and its length (a varint), where it begins.
# Written so that the first look takes it exactly, and confirms nothing where a random id has such a byte.
_BOUNDARY = re.compile(r"^\(\?:\^\|\[\^[^\]]*\]\)")
_TEXT_START = r'[\n\x12\x1a"*b][\x80-\xff]{0,2}[\x80-\xff]?[\x00-\x7f]'


Found = dict[str, Counter[str]]
"""Component -> rule -> how many records, resources and scopes it matched."""


class SecondLine:
    """Masks the secrets of requests, in place; safe to share between threads."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._messages = MessageRedactor(rules)
        self._shown = MessageRedactor(rules, masks_deep=True)
        self._mask: str = rules["mask"]
        keys = _key_pattern(rules["names"])
        values = _value_pattern(rules)
        # Searches of their own: together they are slower than each alone.
        self._searches = (compile_pattern(keys), compile_pattern(values, "i"))
        statements = f"(?:{'|'.join(map(re.escape, rules['sql']['keys']))})\\x12"
        self._statements = compile_pattern(statements, "i")
        self._first = _first_look([(keys, False), (values, True)], (statements, True), rules["sql"]["literal"])

    def suspicious(self, wire: bytes) -> bool:
        """Return whether protobuf bytes may hold a secret; False is certain, but for names spelt to evade.

        So may a statement; compiled code sees whether it is one without literals.
        """
        if self._first is not None and native.available and self._first.clean(wire):
            return False
        return any(search.search(wire) is not None for search in (*self._searches, self._statements))

    def _is_suspicious(self, message: Any) -> bool:
        return self.suspicious(message.SerializeToString())

    def parse(self, signal: Signal, body: bytes, encoding: Encoding, limits: Limits) -> tuple[Parsed, Found]:
        """Return the message of a body as ``wire.parse`` does, what is secret in it masked, and what that was.

        Raises MalformedRequest.
        """
        if encoding is Encoding.JSON:
            # Searched as wire bytes: JSON can write any letter as an escape.
            parsed = json_mapping.parse_whole(signal, body, limits)
            wire = parsed.message.SerializeToString()
        else:
            parsed, wire = parse(signal, body, encoding, limits), body
        parsed.size_bytes = len(body)
        if not self.suspicious(wire):
            return parsed, {}
        whole = parsed
        if parsed.form is Form.OUTLINE:
            whole = parse_whole(signal, body)
            whole.size_bytes = len(body)
        found = self.redact(signal, whole.message)
        if not found:
            return parsed, found  # random ids look like secrets now and then: decoded as it came
        if parsed.form is Form.OUTLINE and whole.indexes is None:
            # Its bytes again: the other records are decoded by compiled code.
            whole = parse(signal, whole.message.SerializeToString(), encoding, limits)
            whole.size_bytes = len(body)
        return whole, found

    def redact(self, signal: Signal, message: Any) -> Found:
        """Mask what is secret in a request; return what it was."""
        found: Found = {}
        groups, scopes, records = signal.lists
        for group in getattr(message, groups):
            component = component_of(group.resource.attributes)
            rules = Counter(self._holder(group.resource))
            for envelope in getattr(group, scopes):
                rules.update(self._holder(envelope.scope))
                for record in filter(self._is_suspicious, getattr(envelope, records)):
                    rules.update(RECORDS[signal.name](self._messages, record))
            if rules:
                found.setdefault(component, Counter()).update(rules)
        return found

    def original(self, signal: Signal, data: bytes, encoding: Encoding) -> bytes:
        """Return the bytes of one rejected record without its secrets; nothing, where they cannot be told apart."""
        if encoding is Encoding.JSON:
            try:
                return orjson.dumps(self._json(orjson.loads(data)))
            except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
                return b""
        if not self.suspicious(data):
            return data
        record = _record_type(signal)()
        try:
            record.ParseFromString(data)
        except DecodeError:
            return b""
        RECORDS[signal.name](self._shown, record)
        return bytes(record.SerializeToString())

    def _json(self, item: Any) -> Any:
        """Return a part of OTLP/JSON without its secrets."""
        if isinstance(item, str):
            return self._shown.text(item)
        if isinstance(item, list):
            return [self._json(part) for part in item]
        if not isinstance(item, dict):
            return item
        key = item.get("key")
        secret = isinstance(key, str) and "value" in item and self._shown.is_secret(key)
        masked = {"stringValue": self._mask} if secret else None
        return {k: masked if masked and k == "value" else self._json(v) for k, v in item.items()}

    def _holder(self, holder: Any) -> set[str]:
        """Mask the attributes of a resource or scope; return the rules that matched."""
        return self._messages.holder(holder) if self._is_suspicious(holder) else set()


def _record_type(signal: Signal) -> Any:
    """Return the message type of one record of a signal."""
    groups = signal.request_type.DESCRIPTOR.fields[0].message_type
    scopes = groups.fields_by_number[2].message_type
    return scopes.fields_by_number[2].message_type._concrete_class  # noqa: SLF001 - how protobuf names it


def _first_look(patterns: Sequence[Pattern], statements: Pattern, literal: str) -> FirstLook | None:
    """Return the compiled first look; None where there is no library, or not for these patterns.

    A statement counts where a literal is in it: of most there are placeholders alone.
    """
    if not native.available:
        return None
    try:
        return FirstLook(patterns, Asking([statements], FirstLook([(literal, False)])))
    except NotExpressibleError:
        return None


def _key_pattern(names: Mapping[str, Any]) -> str:
    """Return the pattern of what no search by value finds in wire bytes: sensitive keys, and card numbers.

    A key ends where the tag of its value (field 2) stands; an integer of 14 digits is a varint of 7 bytes or more
    behind the tag of ``int_value``.
    """
    letters = sorted({*names["terms"], *names["suffixes"]}, key=len, reverse=True)
    terms = "|".join(_BETWEEN.join(map(re.escape, term)) for term in letters)
    last = "|".join(f"[^A-Za-z]{word}|{word.capitalize()}|{word.upper()}" for word in names["last"])
    # One that ends with a word that is looked for by itself is found by that: `http.request.header.cookie`.
    whole = names["exact"]
    alone = [name for name in whole if not any(name.endswith(word) for word in {*letters, *whole} - {name})]
    exact = "|".join(map(re.escape, alone))
    # A word ends where no small letter follows: tokenValue is two words, tokens is another one.
    ended = rf"[0-9]*(?:[\x12\n]|[^a-z\x00-\x1f]{_REST})"
    return rf"(?:(?i:{terms})|{last}){ended}|(?i:{exact})\x12|[\x0a\x12*][\x08-\x0b]\x18[\x80-\xff]{{6}}"


def _value_pattern(rules: Mapping[str, Any]) -> str:
    """Return the pattern of a value in wire bytes that the rules on values may call a secret.

    The rules' own, without what must stand before a match: in wire bytes any byte may, for it is a length.
    """
    url = "|".join(map(re.escape, [*rules["url_names"]["always"], *rules["url_names"]["opaque"]]))
    on = [rule for rule in rules["values"] if rule.get("enabled", True)]
    triggers = [rule.get("trigger") or _BOUNDARY.sub("", rule["pattern"]) for rule in on]
    return "|".join(f"(?:{t})" for t in (rules["pairs"]["trigger"], f"(?:{_TEXT_START}|[?&])(?:{url})=", *triggers))
