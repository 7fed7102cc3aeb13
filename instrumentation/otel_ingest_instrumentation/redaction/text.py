"""Redaction of one text, in bytes: detectors by value, then names and values in pairs, then SQL literals."""

import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import checks, patterns
from .look import Look, Shapes, has, lower
from .names import Names, words
from .patterns import Match, Pattern, compile_pattern

Span = tuple[int, int]
URL_STARTS = b"?&"
_OPAQUE_PARAMETER_MIN = 12
_HASH_HEX = 16
_NAME_END = "[A-Za-z0-9_.$@-]*(?:\\\\*[\"'\\])]|%5D|%22)?[ \\t\\r\\n]*(?:[=:]|%3[AD])"  # what follows a name in a pair


_MASKED = re.compile(rb"\[(?:REDACTED|HMAC:[0-9a-f]{16})\]")


@dataclass(frozen=True, slots=True)
class Detector:
    """One rule by value; ``pick`` turns a match into the spans to mask and the offset to go on from."""

    name: str
    needles: tuple[str, ...]
    pattern: Pattern
    pick: Callable[[bytes, Match], tuple[list[Span], int]]


@dataclass(frozen=True, slots=True)
class Mask:
    """What stands in a secret's place."""

    mode: str
    text: bytes
    key: bytes

    def __call__(self, secret: bytes) -> bytes:
        """Return the replacement of one secret."""
        if self.mode == "drop":
            return b""
        if self.mode == "hash":
            return b"[HMAC:" + hmac.new(self.key, secret, "sha256").hexdigest()[:_HASH_HEX].encode() + b"]"
        return self.text


def splice(text: bytes, spans: Iterable[Span], mask: Callable[[bytes], bytes]) -> bytes:
    """Return ``text`` with each span replaced; spans are in order and do not overlap."""
    parts: list[bytes] = []
    last = 0
    for start, end in spans:
        parts += (text[last:start], mask(text[start:end]))
        last = end
    parts.append(text[last:])
    return b"".join(parts)


class TextRules:
    """The rules on texts, compiled."""

    def __init__(
        self,
        rules: Mapping[str, Any],
        names: Names,
        mask: Mask,
        enabled: Callable[[Mapping[str, Any]], bool],
        extra: Sequence[str] = (),
    ) -> None:
        """``rules``: rules.json with own patterns; ``enabled``: which of them are on; ``extra``: own names."""
        self._names = names
        self._mask = mask
        pairs = rules["pairs"]
        self._pair = compile_pattern(pairs["name"], "i")
        own = [w for name in extra if (w := words(name))]
        self._pair_needles = (*pairs["needles"], *(w[0] for w in own))
        self._pair_values = [compile_pattern(p, "i") for p in pairs["values"]]
        self._quoted_values = pairs["quoted_values"]
        self._line_names = frozenset(pairs["whole_line"]["names"])
        self._line_value = compile_pattern(pairs["whole_line"]["value"])
        self._keep = compile_pattern(pairs["keep"])
        self._keep_words = frozenset(w.encode() for w in pairs["keep_words"])
        self._url_always = frozenset(rules["url_names"]["always"])
        self._url_opaque = frozenset(rules["url_names"]["opaque"])
        self._sql = compile_pattern(rules["sql"]["literal"])
        self._sql_replacement = rules["sql"]["replacement"].encode()
        self._literal = compile_pattern("'((?:[^'\\\\]|\\\\[\\s\\S])*)")
        self._brands = [(a.encode(), b.encode(), lengths) for a, b, lengths in rules["card"]["brands"]]
        self._shapes = rules["card"]["groups"]
        self._iban = rules["iban"]["lengths"]
        on = [v for v in rules["values"] if enabled(v)]
        self._detectors = [self._detector(v) for v in on]
        parameters = "|".join(sorted(self._url_always | self._url_opaque))
        own_names = ["[-_. ]?".join(w) + _NAME_END for w in own]
        url = f"(?:^|[?&])(?:{parameters})="
        self._look: Look | None = None
        if not patterns.linear():  # a backtracking engine is fed what is anchored; literals are looked for without it
            self._look = Look(on, self._pair_needles, parameters)
        self.shapes = Shapes(on, self._pair_needles, parameters)
        triggers = [pairs["trigger"], *own_names, url, *(v.get("trigger") or v["pattern"] for v in on)]
        self._trigger = compile_pattern("|".join(f"(?:{t})" for t in triggers), "i")

    def suspicious(self, text: bytes) -> bool:
        """Return whether any rule could match: one search, for the clean many."""
        if self._look is not None:
            return self._look.finds(lower(text))
        return self._trigger.search(text) is not None

    def redact(self, text: bytes, found: set[str], *, query: bool = False) -> bytes:
        """Return ``text`` without its secrets and add the names of the rules that matched to ``found``."""
        low = lower(text)
        for detector in self._detectors:
            if detector.needles and not has(low, detector.needles):
                continue
            spans: list[Span] = []
            position = 0
            while match := detector.pattern.search(text, position):
                picked, position = detector.pick(text, match)
                spans += (span for span in picked if not _MASKED.match(text, span[0]))
            if spans:
                found.add(detector.name)
                text = splice(text, spans, self._mask)
                low = lower(text)
        if query or b"?" in text or has(low, self._pair_needles):
            spans = self._pairs(text, query=query)
            if spans:
                found.add("key")
                text = splice(text, spans, self._mask)
        return text

    def redact_sql(self, text: bytes, found: set[str]) -> bytes:
        """Return a statement whose string literals are placeholders."""
        first = text.find(b"\\'")
        if first >= 0:  # is the quote escaped or not? servers differ, so nothing between the outer quotes stays
            spans = [(text.find(b"'"), text.rfind(b"'") + 1)]
        else:
            spans = []
            position = 0
            while match := self._sql.search(text, position):
                start, position = match.span()
                spans.append((text.find(b'"', start) if text[start : start + 1] == b"=" else start, position))
        if not spans:
            return text
        if any(text[a:b] != self._sql_replacement for a, b in spans):
            found.add("sql")
        return splice(text, spans, lambda _: self._sql_replacement)

    def _pairs(self, text: bytes, *, query: bool) -> list[Span]:
        spans: list[Span] = []
        position = 0
        while match := self._pair.search(text, position):
            start, end = match.span(1)
            value_at = match.span()[1]
            position = end
            name = text[start:end].decode("ascii", "replace")
            in_url = (text[start - 1 : start] in (b"?", b"&")) if start else query
            url_rule = in_url and name.lower()
            if self._names.sensitive(name) or (url_rule and url_rule in self._url_always):
                minimum = 0
            elif url_rule and url_rule in self._url_opaque:
                minimum = _OPAQUE_PARAMETER_MIN
            else:
                continue
            span = self._pair_value(text, value_at, self._whole_line(name, text[end:value_at]))
            if span is None:
                continue
            if minimum and not checks.opaque(text[span[0] : span[1]], minimum):
                continue
            spans.append(span)
            position = span[1]
        return spans

    def _whole_line(self, name: str, separator: bytes) -> bool:
        return (b":" in separator and "".join(words(name)[-2:]) in self._line_names) or (
            b":" in separator and "".join(words(name)[-1:]) in self._line_names
        )

    def _pair_value(self, text: bytes, at: int, whole_line: bool) -> Span | None:  # noqa: FBT001
        for index, pattern in enumerate(self._pair_values):
            unquoted = index == len(self._pair_values) - 1
            match = (self._line_value if unquoted and whole_line else pattern).match(text, at)
            if match is None:
                continue
            start, end = match.span(1)
            value = text[start:end]
            if not value or self._keep.match(
                text[start:end] if index < self._quoted_values or unquoted else text[at:end]
            ):
                return None
            if unquoted and value.rstrip(b".,:;!?)]}").lower() in self._keep_words:
                return None
            if whole_line and unquoted and value.split(None, 1)[0].rstrip(b".,:;!?)").lower() in self._keep_words:
                return None
            return start, end
        return None

    def _detector(self, rule: Mapping[str, Any]) -> Detector:
        group = rule.get("group", 1)
        check = rule.get("check", "")
        picks: dict[str, Callable[[bytes, Match], tuple[list[Span], int]]] = {
            "": lambda _, m: ([m.span(group)], m.span(group)[1]),
            "opaque": lambda t, m: self._if(checks.opaque(_part(t, m, group)), m.span(group)),
            "ends": lambda t, m: self._if(not t[m.span(group)[1] : m.span(group)[1] + 1].isalnum(), m.span(group)),
            "placeholder": lambda t, m: self._if(self._keep.match(_part(t, m, group)) is None, m.span(group)),
            "name": lambda t, m: self._if(
                self._names.sensitive(_part(t, m, 1).decode("ascii", "replace"))
                and self._keep.match(_part(t, m, group).strip(b"\"'")) is None,
                m.span(group),
            ),
            "card": self._pick_cards,
            "iban": self._pick_iban,
            "columns": self._pick_insert,
            "literals": lambda t, m: self._literals(t, m.span()[1], t.find(b"\n", m.span()[1])),
        }
        needles = tuple(rule.get("needles", ()))
        return Detector(rule["name"], needles, compile_pattern(rule["pattern"], rule.get("flags", "")), picks[check])

    @staticmethod
    def _if(sure: bool, span: Span) -> tuple[list[Span], int]:  # noqa: FBT001
        return ([span] if sure else []), span[1]

    def _pick_cards(self, text: bytes, match: Match) -> tuple[list[Span], int]:
        start, end = match.span(1)
        if text[end : end + 1].isalpha() or text[end : end + 1] == b"_":
            return [], end
        return [(start + a, start + b) for a, b in checks.cards(text[start:end], self._brands, self._shapes)], end

    def _pick_iban(self, text: bytes, match: Match) -> tuple[list[Span], int]:
        start, end = match.span(1)
        span = checks.iban(text[start:end], self._iban)
        return ([], end) if span is None else ([(start, start + span[1])], start + span[1])

    def _pick_insert(self, text: bytes, match: Match) -> tuple[list[Span], int]:
        columns = _part(text, match, 1).decode("utf-8", "replace").split(",")
        if not any(self._names.sensitive(c.strip()) for c in columns):
            return [], match.span()[1]
        return self._literals(text, match.span()[1], -1)

    def _literals(self, text: bytes, start: int, end: int) -> tuple[list[Span], int]:
        end = len(text) if end < 0 else end
        spans: list[Span] = []
        position = start
        while (match := self._literal.search(text, position)) and match.span()[0] < end:
            span = match.span(1)
            if span[1] > span[0] and self._keep.match(text[span[0] : span[1]]) is None:
                spans.append(span)
            position = match.span()[1] + 1
            if position > len(text):
                break
        return spans, max(end, position if spans else end)


def _part(text: bytes, match: Match, group: int) -> bytes:
    start, end = match.span(group)
    return text[start:end]


def without_overlap(spans: Sequence[Span]) -> list[Span]:
    """Return spans in order, those that begin inside an earlier one left out."""
    kept: list[Span] = []
    for span in sorted(spans):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept
