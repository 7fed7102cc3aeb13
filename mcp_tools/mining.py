"""PURE: messages -> templates, as Drain mines them (He et al., 2017): one pass, no training, repeatable.

A message joins the template of its length and first word that differs in the fewest words; what differs becomes <*>.
Words that look like values (digits, quotes, =, /, very long) may always differ; of plain words only a few may, so that
"connection opened" and "connection closed" stay two.
"""

import re
from dataclasses import dataclass

from mcp_tools.masking import masked, shape

WILDCARD = "<*>"
_WORDS_MAX = 60
# Past so many templates of one length and first word, a message joins the nearest, however far.
_BUCKET_MAX = 100
_WORD_CHARS_MAX = 40
_PLAIN = re.compile(r"[^\W\d_][^\W\d]*[.,:;!?)]?\Z")


@dataclass(slots=True)
class Template:
    """Words, with WILDCARD where its messages differ, and how many messages it has."""

    words: list[str]
    count: int = 0

    def __str__(self) -> str:
        """Return the template as one line."""
        return " ".join(self.words)


class Miner:
    """Templates of the messages added so far."""

    def __init__(self) -> None:
        self.templates: list[Template] = []
        self._buckets: dict[tuple[int, str], list[int]] = {}
        self._known: dict[str, int] = {}  # shapes: as many as messages at most, mostly few
        self._masked: dict[str, int] = {}

    def add(self, message: str) -> int:
        """Return the index of the message's template; the template may have become more general by it."""
        line = shape(message.partition("\n")[0])
        index = self._known.get(line)
        if index is None:
            index = self._known[line] = self._of_masked(masked(line))
        self.templates[index].count += 1
        return index

    def _of_masked(self, line: str) -> int:
        index = self._masked.get(line)
        if index is None:
            index = self._masked[line] = self._place(line.split()[:_WORDS_MAX])
        return index

    def _place(self, words: list[str]) -> int:
        first = words[0] if words and _is_plain(words[0]) else WILDCARD
        bucket = self._buckets.setdefault((len(words), first), [])
        best, best_differences = -1, -1
        for index in bucket:
            differences = _differences(self.templates[index].words, words)
            if best < 0 or differences < best_differences:
                best, best_differences = index, differences
        if best >= 0 and (best_differences <= _allowed(len(words)) or len(bucket) >= _BUCKET_MAX):
            template = self.templates[best]
            template.words = [a if a == b else WILDCARD for a, b in zip(template.words, words, strict=True)]
            return best
        self.templates.append(Template(list(words)))
        bucket.append(len(self.templates) - 1)
        return bucket[-1]


def _differences(template: list[str], words: list[str]) -> int:
    """Return how many plain words differ; where the template has a wildcard, none does."""
    return sum(
        1 for a, b in zip(template, words, strict=True) if a not in (b, WILDCARD) and _is_plain(a) and _is_plain(b)
    )


def _allowed(length: int) -> int:
    """Return how many plain words of one template may differ: none of three, one of seven, two of twelve."""
    return max((length - 2) // 5, 0)


def _is_plain(word: str) -> bool:
    return len(word) <= _WORD_CHARS_MAX and _PLAIN.match(word) is not None


def matches(template: str, message: str) -> bool:
    """Whether a message has the form of a template."""
    words = masked(message.partition("\n")[0]).split()[:_WORDS_MAX]
    parts = template.split()
    return len(words) == len(parts) and all(a in (b, WILDCARD) for a, b in zip(parts, words, strict=True))
