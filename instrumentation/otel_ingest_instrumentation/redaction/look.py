"""The first look at a text: whether any rule could match, for the clean many; by literals and by what is known."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_ZEROS = str.maketrans("0123456789", "0" * 10)
_ZERO_BYTES = bytes.maketrans(b"0123456789", b"0" * 10)
_CARD_SHAPE = re.compile(rb"0(?:[ -]?0){11}")
_SHAPE_BYTES_MAX = 8_192  # of a text: a long stack trace
_SHAPES_BYTES_MAX = 4 << 20  # of all that is remembered
_ENTRY_BYTES = 100  # what a set takes for one beside its bytes


class Look:
    """The first look at a text with the standard library's engine: whether any rule could match.

    Literals are looked for with ``in``; those that stand at the beginning of a word all at once, by what stands before.
    """

    def __init__(self, detectors: Sequence[Mapping[str, Any]], pair_needles: Sequence[str], parameters: str) -> None:
        """``detectors``: the rules by value that are on; ``parameters``: names in URLs, as alternatives."""
        starts = [n for v in detectors if v.get("starts") for n in v["needles"]]
        # Each begins with one class of characters: what the engine looks for fastest.
        first = [f"[^a-z0-9]{_tree(starts)}"] if starts else []
        self._starts = [re.compile(pattern) for pattern in (*first, f"[?&\n](?:{parameters})=")]
        self._needles = tuple(n for v in detectors if not v.get("starts") for n in v.get("needles", ()))
        self._pairs = tuple(pair_needles)
        bare = [v.get("trigger") or v["pattern"] for v in detectors if not v.get("needles")]
        self._others = [re.compile(pattern, re.IGNORECASE) for pattern in bare]

    def finds(self, lower_case: str) -> bool:
        """Return whether a lower-case text may hold a secret; False is certain."""
        if ("=" in lower_case or ":" in lower_case or "%3" in lower_case) and has(lower_case, self._pairs):
            return True
        if has(lower_case, self._needles):
            return True
        text = "\n" + lower_case
        for pattern in self._starts:  # loops: a generator costs more than what it runs
            if pattern.search(text) is not None:
                return True
        for pattern in self._others:  # noqa: SIM110
            if pattern.search(text) is not None:
                return True
        return False


class Shapes:
    """Texts known as clean whatever their digits are: of most messages, paths and stack traces nothing else changes.

    A shape is a text with every digit made a 0. It is clean where the rules, with their own digits made so, find
    nothing in it: then they find nothing in any text of that shape. Rules without a literal to look for cannot be made
    so; with others than that of card numbers (which counts digits) nothing is known here.
    """

    def __init__(self, detectors: Sequence[Mapping[str, Any]], pair_needles: Sequence[str], parameters: str) -> None:
        """Take what ``Look`` takes."""
        literal = [v for v in detectors if v.get("needles")]
        mapped = [{**v, "needles": [n.translate(_ZEROS) for n in v["needles"]]} for v in literal]
        pairs = [n.translate(_ZEROS) for n in pair_needles]
        self._look = Look(mapped, pairs, parameters.translate(_ZEROS))
        self._usable = all(v["name"] == "card" and not v.get("own") for v in detectors if not v.get("needles"))
        self._clean: set[bytes] = set()
        self._seen: set[bytes] = set()
        self._bytes = 0

    def knows(self, text: str) -> bool:
        """Return whether a text is clean; False may be wrong, True is not."""
        return text.encode("utf-8", "surrogatepass").translate(_ZERO_BYTES) in self._clean

    def learn(self, text: str) -> None:
        """Take note of a text in which nothing was found; its shape counts from the second time on."""
        shape = text.encode("utf-8", "surrogatepass").translate(_ZERO_BYTES)
        if not self._usable or len(shape) > _SHAPE_BYTES_MAX:
            return
        if shape not in self._seen:
            self._room(shape)
            self._seen.add(shape)
        elif not (self._look.finds(lower(shape)) or _CARD_SHAPE.search(shape)):
            self._room(shape)
            self._clean.add(shape)

    def _room(self, shape: bytes) -> None:
        self._bytes += len(shape) + _ENTRY_BYTES
        if self._bytes > _SHAPES_BYTES_MAX:
            self._bytes = 0
            self._clean.clear()
            self._seen.clear()


def _tree(literals: Sequence[str]) -> str:
    """Return a pattern of literals with common beginnings taken once."""
    branches: dict[str, list[str]] = {}
    for literal in literals:
        branches.setdefault(literal[:1], []).append(literal[1:])
    if "" in branches:
        return ""
    parts = [re.escape(first) + _tree(rest) for first, rest in sorted(branches.items())]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def lower(text: bytes) -> str:
    """Return a text to look for needles in: those are ASCII, and a search in str is three times one in bytes."""
    return text.decode("latin-1").lower()


def has(text: str, needles: Sequence[str]) -> bool:
    """Return whether any needle is in a text; a loop, because a generator costs more than what it runs."""
    for needle in needles:  # noqa: SIM110
        if needle in text:
            return True
    return False
