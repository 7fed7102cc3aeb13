"""PURE: a pattern of the syntax that RE2, Python and JavaScript share -> its parts, as far as rules use it.

A byte of a pattern is a mask: an int with a bit for each byte that may stand there.
"""

import re
from typing import NamedTuple

ALL = (1 << 256) - 1
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
_REPEATED = re.compile(r"[*+?]|\{(\d+)(,?)(\d*)\}")


class NotExpressibleError(ValueError):
    """A pattern of syntax that is not known here: another engine must look for it."""


def _span(first: int, last: int) -> int:
    """Return the bytes from first to last."""
    return (1 << last + 1) - (1 << first)


def _byte(character: str) -> int:
    if not character.isascii():
        raise NotExpressibleError(f"{character!r} is more than one byte")
    return 1 << ord(character)


_UPPER, _LOWER, _DIGITS = (_span(ord(a), ord(b)) for a, b in ("AZ", "az", "09"))
COMMON = _LOWER | _DIGITS | sum(map(_byte, " ./_-:\n\x12\0"))
WORD = _UPPER | _LOWER | _DIGITS | _byte("_")
_SPACE = _span(9, 13) | _byte(" ")
_CLASSES = {"s": _SPACE, "d": _DIGITS, "w": WORD}


class Repeat(NamedTuple):
    """``most``: None for without end."""

    item: "Node"
    least: int
    most: int | None


class Boundary(NamedTuple):
    """Between a character of a word, and none."""


class InOrder(NamedTuple):
    """One behind the other."""

    items: "list[Node]"


class Choice(NamedTuple):
    """Any one of these."""

    items: "list[Node]"


Node = int | Repeat | Boundary | InOrder | Choice
"""Of a pattern; an int is one byte, a bit of it for each that may stand there."""


def read(pattern: str, *, ignore_case: bool) -> Node:
    """Return a pattern's parts. Raises NotExpressibleError."""
    return _Reader(pattern, ignore_case=ignore_case).read()


class _Reader:
    """Where in a pattern it is read."""

    def __init__(self, text: str, *, ignore_case: bool) -> None:
        self._text = text
        self._at = 0
        self._ignore_case = ignore_case

    def read(self) -> Node:
        """Return the whole pattern. Raises NotExpressibleError."""
        node = self._choice()
        if self._at < len(self._text):
            raise self._unknown()
        return node

    def _unknown(self) -> NotExpressibleError:
        return NotExpressibleError(f"{self._text[self._at : self._at + 10]!r} is not known")

    def _is(self, text: str) -> bool:
        """Go past ``text`` where it stands here; return whether it does."""
        found = self._text.startswith(text, self._at)
        self._at += len(text) * found
        return found

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise self._unknown()
        self._at += 1
        return self._text[self._at - 1]

    def _choice(self) -> Node:
        items = [self._sequence()]
        while self._is("|"):
            items.append(self._sequence())
        return items[0] if len(items) == 1 else Choice(items)

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            items.append(self._repeated())
        return InOrder(items)

    def _repeated(self) -> Node:
        node = self._item()
        found = _REPEATED.match(self._text, self._at)
        if found is None:
            return node
        self._at = found.end()
        if self._text[self._at : self._at + 1] in tuple("*+?"):
            raise self._unknown()  # lazy, or possessive
        if found[1] is None:
            return Repeat(node, int(found[0] == "+"), 1 if found[0] == "?" else None)
        most = found[3] if found[2] else found[1]
        return Repeat(node, int(found[1]), int(most) if most else None)

    def _item(self) -> Node:
        if self._is("("):
            return self._group()
        if self._is("["):
            return self._set()
        if self._is("\\b"):
            return Boundary()
        if self._is("\\"):
            return self._folded(self._escaped())
        if self._text[self._at] in "^$.*+?{":
            raise self._unknown()
        return self._folded(_byte(self._next()))

    def _group(self) -> Node:
        outer = self._ignore_case
        if self._is("?i:"):
            self._ignore_case = True
        elif not self._is("?:") and self._is("?"):
            raise self._unknown()
        node = self._choice()
        if not self._is(")"):
            raise self._unknown()
        self._ignore_case = outer
        return node

    def _escaped(self) -> int:
        """Return the bytes of what stands behind a backslash."""
        character = self._next()
        if character == "x":
            return 1 << int(self._next() + self._next(), 16)
        if character.lower() in _CLASSES:
            bytes_ = _CLASSES[character.lower()]
            return bytes_ if character.islower() else ALL & ~bytes_
        if character.isalnum() and character not in _ESCAPED:
            raise self._unknown()
        return _byte(_ESCAPED.get(character, character))

    def _set(self) -> int:
        negated, found = self._is("^"), 0
        while not self._is("]"):
            if self._is("[:"):
                raise self._unknown()
            item = self._member()
            if self._text[self._at : self._at + 1] == "-" and self._text[self._at : self._at + 2] != "-]":
                self._next()
                item = self._between(item, self._member())
            found |= item
        if not found:
            raise self._unknown()
        folded = self._folded(found)
        return ALL & ~folded if negated else folded

    def _member(self) -> int:
        return self._escaped() if self._is("\\") else _byte(self._next())

    def _between(self, first: int, last: int) -> int:
        if first.bit_count() != 1 or last.bit_count() != 1 or first > last:
            raise self._unknown()
        return _span(first.bit_length() - 1, last.bit_length() - 1)

    def _folded(self, bytes_: int) -> int:
        if not self._ignore_case:
            return bytes_
        if bytes_ >> 128 not in {0, ALL >> 128}:
            raise self._unknown()  # engines differ in what the case of these is
        return bytes_ | (bytes_ & _UPPER) << 32 | (bytes_ & _LOWER) >> 32
