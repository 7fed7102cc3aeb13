"""Is a field's name a secret's name? Words, whatever their case and separators; cached."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

_CAMEL = re.compile(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_DIGITS = "0123456789"
_NAME_MAX = 128  # characters looked at, from the end: a longer "name" is text, and the cache stays small
_TERM_WORDS_MAX = 4


def words(name: str) -> list[str]:
    """Cut a name into lower-case words; digits at a word's ends do not count."""
    spaced = _CAMEL.sub(lambda m: f"{m[1]}_{m[2]}" if m[1] else f"{m[3]}_{m[4]}", name[-_NAME_MAX:])
    return [w for part in _SEPARATORS.split(spaced.lower()) if (w := part.strip(_DIGITS))]


class Names:
    """The rules on names: exact, safe, safe_last, terms, last, suffixes, in that order."""

    def __init__(self, rules: Mapping[str, Any], extra: Sequence[str] = (), allowed: Sequence[str] = ()) -> None:
        """``extra``: more terms; ``allowed``: whole names that are never sensitive (both in any spelling)."""
        self._exact = frozenset(rules["exact"])
        self._safe = frozenset(rules["safe"])
        self._safe_last = frozenset(rules["safe_last"])
        self._terms = frozenset(rules["terms"]) | {"".join(words(name)) for name in extra}
        self._last = frozenset(rules["last"])
        self._suffixes = tuple(rules["suffixes"])
        self._extra = frozenset("".join(words(name)) for name in extra)
        self._allowed = frozenset("".join(words(name)) for name in allowed)
        self.sensitive = lru_cache(maxsize=8192)(self._sensitive)

    def _sensitive(self, name: str) -> bool:
        """Return whether a field of this name holds a secret."""
        lower = name.lower()
        parts = words(name)
        if not parts or "".join(parts) in self._allowed:
            return False
        if lower in self._exact or "".join(parts) in self._extra:
            return True
        if lower in self._safe or parts[-1] in self._safe_last:
            return False
        if parts[-1] in self._last or parts[-1].endswith(self._suffixes):
            return True
        return any(
            "".join(parts[i:j]) in self._terms
            for i in range(len(parts))
            for j in range(i + 1, min(i + _TERM_WORDS_MAX, len(parts)) + 1)
        )
