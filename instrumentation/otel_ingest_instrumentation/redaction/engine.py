"""Redaction of values as telemetry holds them: texts, numbers, and maps and lists nested in each other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .names import Names
from .text import Mask, TextRules

_MASKED = re.compile(r"\['?\[?(?:REDACTED[^\]]{0,40}|HMAC:[0-9a-f]{16})\](?:'\])?")
FAILED = "[REDACTED: redaction failed]"
DROPPED: Any = object()  # a value that is to go with its key
_CARD_NUMBER_MIN = 10**13  # smaller integers hold no card number
_HARMLESS = frozenset({bool, float, type(None)})
_KNOWN_MAX, _KNOWN_CHARS_MAX = 8_192, 64  # texts remembered as clean: 1 MB at most
_DEPTH_MAX = 30  # deeper than any record; the receiver takes no more


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may set.

    mode: mask, drop (the field, or the secret in its text) or hash (HMAC-SHA256, first 16 hex digits).
    names, allow: more sensitive names; names never sensitive. only: where set, any other attribute is dropped.
    enable, disable: detectors of rules.json by name. patterns: own detectors, as in rules.json.
    """

    mode: str = "mask"
    hash_key: bytes = b""
    names: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    only: frozenset[str] = frozenset()
    enable: frozenset[str] = frozenset()
    disable: frozenset[str] = frozenset()
    patterns: tuple[Mapping[str, Any], ...] = field(default=())


class Redactor:
    """The rules and a user's options, compiled; pure and safe to share between threads."""

    def __init__(
        self, rules: Mapping[str, Any], options: Options | None = None, *, depth_max: int = _DEPTH_MAX
    ) -> None:
        """Compile; raises ValueError for options that make no sense. What nests ``depth_max`` deep is replaced."""
        options = options or Options()
        if options.mode not in {"mask", "drop", "hash"}:
            raise ValueError(f"redaction mode {options.mode!r} is none of mask, drop, hash")
        if options.mode == "hash" and not options.hash_key:
            raise ValueError("redaction mode hash needs a key")
        self.options = options
        self._depth_max = depth_max
        self._names = Names(rules["names"], options.names, options.allow)
        self._mask = Mask(options.mode, rules["mask"].encode(), options.hash_key)
        self._sql_keys = frozenset(rules["sql"]["keys"])
        known = {v["name"] for v in rules["values"]}
        if unknown := (options.enable | options.disable) - known:
            raise ValueError(
                f"no such redaction rule: {', '.join(sorted(unknown))} (there are {', '.join(sorted(known))})"
            )

        def enabled(rule: Mapping[str, Any]) -> bool:
            return rule["name"] not in options.disable and (rule.get("enabled", True) or rule["name"] in options.enable)

        self._known: set[str] = set()
        self._plain = lru_cache(maxsize=8192)(self._is_plain)
        merged = {**rules, "values": [*rules["values"], *({**p, "own": True} for p in options.patterns)]}
        self._text = TextRules(merged, self._names, self._mask, enabled, options.names)

    def clean(self, texts: Sequence[Any], attributes: Mapping[str, Any]) -> bool:
        """Return whether a record holds nothing to redact; False may be wrong, True is not. One search a record."""
        if self.options.only:
            return False
        parts: list[str] = []
        if not self._gather(attributes, parts):
            return False
        for value in texts:
            if value is not None and not self._gather_one(value, parts):
                return False
        knows = self._text.shapes.knows
        parts = [part for part in parts if not knows(part)]
        if not parts:
            return True
        if self._text.suspicious("\n".join(parts).encode("utf-8", "surrogatepass")):
            return False
        self._remember(parts)
        return True

    def _remember(self, parts: Sequence[str]) -> None:
        """Note short texts that no rule matches: methods, routes, hosts and versions come again and again."""
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        for part in parts:
            if len(part) <= _KNOWN_CHARS_MAX:
                self._known.add(part)
            self._text.shapes.learn(part)

    def _is_plain(self, key: str) -> bool:
        """Return whether a field of this name is judged by its value alone."""
        special = self._names.sensitive(key) or key in self._sql_keys or key.endswith("url.query")
        return not special and not self._text.suspicious(key.encode("utf-8", "surrogatepass"))

    def _gather(self, attributes: Mapping[str, Any], parts: list[str]) -> bool:
        plain, known = self._plain, self._known
        for key, value in attributes.items():
            if not plain(key):
                return False
            kind = type(value)
            if kind is str:
                if value not in known:
                    parts.append(value)
            elif kind not in _HARMLESS and not self._gather_one(value, parts):
                return False
        return True

    def _gather_one(self, value: Any, parts: list[str]) -> bool:
        if isinstance(value, str):
            if value not in self._known:
                parts.append(value)
        elif isinstance(value, int):
            if value >= _CARD_NUMBER_MIN:
                parts.append(str(value))
        elif isinstance(value, Mapping):
            return self._gather(value, parts)
        elif isinstance(value, list | tuple) and all(type(item) is str and not item.startswith("-") for item in value):
            parts.extend(value)
        else:
            return value is None or isinstance(value, float)
        return True

    def text(self, value: str, path: str, found: set[str]) -> str:
        """Return a text without its secrets; ``found`` gains ``path:rule`` for each rule that matched."""
        raw = value.encode("utf-8", "surrogatepass")
        if not self._text.suspicious(raw):
            return value
        rules: set[str] = set()
        clean = self._text.redact(raw, rules, query=path.endswith("url.query"))
        if not rules:
            return value
        found.update(f"{path}:{rule}" for rule in rules)
        return clean.decode("utf-8", "replace")

    def field(self, key: str, value: Any, found: set[str]) -> tuple[str, Any]:
        """Return one field of a record without its secrets; the value is ``DROPPED`` where the field is to go."""
        clean = self.mapping({key: value}, "", found)
        return next(iter(clean.items()), (key, DROPPED))

    def value(self, value: Any, path: str, found: set[str], depth: int = 0) -> Any:  # noqa: PLR0911  # one a kind
        """Return any value without its secrets; maps and lists are copied where something changed."""
        if isinstance(value, str):
            return self.text(value, path, found)
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return self._number(value, path, found)
        if isinstance(value, bytes):
            return self._bytes(value, path, found)
        if depth >= self._depth_max:
            found.add(f"{path}:depth")
            return self._mask.text.decode()
        if isinstance(value, Mapping):
            return self.mapping(value, path, found, depth)
        if isinstance(value, Sequence):
            return self._sequence(value, path, found, depth)
        return self.text(str(value), path, found)

    def mapping(self, attributes: Mapping[str, Any], path: str, found: set[str], depth: int = 0) -> dict[str, Any]:
        """Return a copy of a map in which no value is secret, by its name or by itself."""
        out = {}
        only = self.options.only if depth == 0 and not path else None
        for key, value in attributes.items():
            rules: set[str] = set()
            shown = self.text(key, "", rules)
            where = f"{path}.{shown}" if path else shown
            found.update(where + rule for rule in rules)
            if only and key not in only:
                found.add(f"{where}:only")
                continue
            clean = self._field(key, value, where, found, depth)
            if clean is not DROPPED:
                out[shown] = clean
        return out

    def _field(self, key: str, value: Any, where: str, found: set[str], depth: int) -> Any:
        if (
            self._names.sensitive(key)
            and value is not None
            and not isinstance(value, bool)
            and value not in ("", (), [], {})
        ):
            return self._secret(value, where, found)
        if key in self._sql_keys and isinstance(value, str):
            rules: set[str] = set()
            value = self._text.redact_sql(value.encode("utf-8", "surrogatepass"), rules).decode("utf-8", "replace")
            found.update(f"{where}:{rule}" for rule in rules)
        return self.value(value, where, found, depth + 1)

    def _secret(self, value: Any, where: str, found: set[str]) -> Any:
        """Replace a whole value, unless it stands there masked already."""
        text = value if isinstance(value, str) else repr(value)
        if _MASKED.fullmatch(text):
            return value
        found.add(f"{where}:key")
        if self.options.mode == "drop":
            return DROPPED
        masked = self._mask(text.encode("utf-8", "surrogatepass")).decode()
        return [masked] if isinstance(value, list | tuple) else masked

    def _sequence(self, values: Sequence[Any], path: str, found: set[str], depth: int) -> list[Any]:
        """Redact a list; in one of arguments, what follows ``--password`` is a secret."""
        out = []
        follows = False
        for item in values:
            if follows and isinstance(item, str) and not item.startswith("-"):
                clean = self._secret(item, path, found)
                out.append("" if clean is DROPPED else clean)
            else:
                out.append(self.value(item, path, found, depth + 1))
            follows = (
                isinstance(item, str) and item.startswith("--") and "=" not in item and self._names.sensitive(item)
            )
        return out

    def _number(self, value: int, path: str, found: set[str]) -> Any:
        if value < _CARD_NUMBER_MIN:
            return value
        text = str(value)
        clean = self.text(text, path, found)
        return value if clean == text else clean

    def _bytes(self, value: bytes, path: str, found: set[str]) -> bytes:
        if not self._text.suspicious(value):
            return value
        rules: set[str] = set()
        clean = self._text.redact(value, rules)
        found.update(f"{path}:{rule}" for rule in rules)
        return clean
