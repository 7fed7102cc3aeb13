"""What is wrong with a query: where, and what would be right. PURE."""

import unicodedata

# Characters shown on either side of what is wrong; a line of a terminal has room for them.
_AROUND = 50


class QueryError(ValueError):
    """A query that cannot be read. ``position``: of the first wrong character, from 0; ``length``: how many are.

    Its text has the query below it with carets under what is wrong.
    """

    def __init__(self, message: str, query: str, position: int, length: int = 1) -> None:
        super().__init__(f"{message} (column {position + 1})\n{_pointed(query, position, length)}")
        self.message = message
        self.position = position
        self.length = length


def _pointed(query: str, position: int, length: int) -> str:
    """Return two lines: the query around the place, and carets below it."""
    length = min(length, _AROUND)
    first, last = max(position - _AROUND, 0), position + length + _AROUND
    shown = [c if c.isprintable() else " " for c in query[first:last]]
    before = ("…" if first else "", "…" if last < len(query) else "")
    column = sum(_width(c) for c in shown[: position - first]) + len(before[0])
    marked = sum(_width(c) for c in shown[position - first : position - first + length])
    return f"  {before[0]}{''.join(shown)}{before[1]}\n  {' ' * column}{'^' * max(marked, 1)}"


def _width(character: str) -> int:
    """Return how many columns of a terminal a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
