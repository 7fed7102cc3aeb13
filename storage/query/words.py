"""PURE: how single words are written and read: wildcards, escapes, quotes, numbers."""

import re
from math import isfinite

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_NUMBER_CHARS_MAX = 40  # more digits than any attribute holds; what is longer is text
_PLAIN = re.compile(r"[\w./@-]+\Z", re.ASCII)
_KEYWORDS = {"OR", "AND", "NOT", "TO"}
_ESCAPED = re.compile(r"[^\w./-]", re.ASCII)


def pieces_of(word: str) -> tuple[str, ...]:
    """Return the pieces between the ``*`` of a bare word, escapes undone; one piece: there was none."""
    pieces, piece, characters = [], "", iter(word)
    for character in characters:
        if character == "*":
            pieces.append(piece)
            piece = ""
        else:
            piece += next(characters, "") if character == "\\" else character
    pieces.append(piece)
    return (pieces[0], *(p for p in pieces[1:-1] if p), pieces[-1]) if len(pieces) > 1 else (piece,)


def unquoted(phrase: str) -> str:
    r"""Return what stands between quotes; \" and \\ are a quote and a backslash, any other backslash is itself."""
    return re.sub(r'\\(["\\])', r"\1", phrase[1:-1])


def number_of(text: str) -> int | float | None:
    """Return the number ``text`` is as JSON writes them, or None."""
    if len(text) > _NUMBER_CHARS_MAX or not _NUMBER.match(text):
        return None
    if text.lstrip("-").isdigit():
        return int(text)
    number = float(text)
    return number if isfinite(number) else None


def looks_loose(text: str) -> bool:
    """Whether a bare word is more than its letters: a number or a truth value."""
    return text in {"true", "false"} or number_of(text) is not None


def written(text: str, *, loose: bool = False) -> str:
    """Return ``text`` as a query writes it: bare where that reads the same, else in quotes."""
    plain = _PLAIN.match(text) and text not in _KEYWORDS and text[0] not in "@-"
    if loose or (plain and not looks_loose(text)):
        return text
    return f'"{quoted(text)}"'


def quoted(text: str) -> str:
    """Return ``text`` for between quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def with_wildcards(pieces: tuple[str, ...]) -> str:
    """Return pieces as a bare word with a ``*`` between them."""
    word = "*".join(_ESCAPED.sub(lambda found: "\\" + found[0], piece) for piece in pieces)
    return f"\\{word}" if word.startswith("-") else word
