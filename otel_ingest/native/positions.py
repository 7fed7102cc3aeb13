"""PURE: patterns -> the positions of their bytes, from which ``search.c`` makes its states (Glushkov's construction).

Every byte that a pattern can take is a position, which some bytes match and some positions may follow. What is made
matches wherever the pattern does, and a little more: a repetition of up to n counts as one without end where n is far
from its least. So where it finds nothing, the pattern finds nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otel_ingest.native.expressions import (
    ALL,
    COMMON,
    WORD,
    Boundary,
    InOrder,
    Node,
    NotExpressibleError,
    Repeat,
    read,
)

# Repetitions whose most is that near to their least are taken exactly.
_EXACT_MAX = 2
# How many bytes of a match a searching state follows; the rest is confirmed. More: more states, fewer to confirm.
_EARLY_BYTES = 4


class _Part(NamedTuple):
    """Of an expression: positions it may begin and end with, as masks, and whether it may be empty."""

    first: int
    last: int
    empty: bool


@dataclass(frozen=True, slots=True)
class Positions:
    """What patterns are made of: of each position a mask of bytes, one of followers, and whether it is late in a match.

    Position 0 is before the first byte and behind the last. ``late``: 1, or 2 where a match ends that asks for a text.
    """

    takes: list[int]
    follow: list[int]
    late: list[int]

    def classes(self) -> list[int]:
        """Return masks of bytes that no position tells apart; what most texts are made of comes first."""
        parts = [ALL]
        for taken in set(self.takes):
            parts = [part for whole in parts for part in (whole & taken, whole & ~taken) if part]
        return sorted(parts, key=lambda part: (not part & COMMON, part))


class _Builder:
    """Gathers the positions of patterns."""

    def __init__(self) -> None:
        self.takes, self.follow = [0], [0]
        self._boundaries: set[int] = set()
        self._looping: set[int] = set()
        self._loops = 0

    def positions(self, nodes: Sequence[Node], asking: Sequence[Node]) -> Positions:
        """Return those of patterns, any of which may match. Raises NotExpressibleError."""
        asks = 0
        for number, node in enumerate((*nodes, *asking)):
            whole = self._part(node)
            if whole.empty:
                raise NotExpressibleError("a pattern matches everywhere")
            self.follow[0] |= whole.first
            self._follow(whole.last, 1)
            asks |= whole.last if number >= len(nodes) else 0
        if any(n in self._boundaries for n in bits(asks)):
            raise NotExpressibleError("a name that ends with a boundary")
        for boundary in sorted(self._boundaries, reverse=True):
            self._resolve(boundary)
        late = [2 if asks >> n & 1 else int(late) for n, late in enumerate(self._late())]
        return Positions(self.takes, self.follow, late)

    def _position(self, taken: int) -> int:
        self.takes.append(taken)
        self.follow.append(0)
        if self._loops:
            self._looping.add(len(self.takes) - 1)
        return 1 << len(self.takes) - 1

    def _follow(self, positions: int, followers: int) -> None:
        for position in bits(positions):
            self.follow[position] |= followers

    def _part(self, node: Node) -> _Part:
        if isinstance(node, int):
            position = self._position(node)
            return _Part(position, position, empty=False)
        if isinstance(node, Boundary):
            position = self._position(0)
            self._boundaries.add(position.bit_length() - 1)
            return _Part(position, position, empty=False)
        if isinstance(node, Repeat):
            return self._repeated(node)
        parts = map(self._part, node.items)
        return self._joined(parts) if isinstance(node, InOrder) else self._either(parts)

    @staticmethod
    def _either(parts: Iterator[_Part]) -> _Part:
        first = last = 0
        empty = False
        for part in parts:
            first, last, empty = first | part.first, last | part.last, empty or part.empty
        return _Part(first, last, empty)

    def _joined(self, parts: Iterator[_Part]) -> _Part:
        first = last = 0
        empty = True
        for part in parts:
            self._follow(last, part.first)
            first |= part.first if empty else 0
            last = part.last | (last if part.empty else 0)
            empty = empty and part.empty
        return _Part(first, last, empty)

    def _repeated(self, node: Repeat) -> _Part:
        more = _EXACT_MAX + 1 if node.most is None else node.most - node.least
        endless = more > _EXACT_MAX
        more = 1 if endless else more
        return self._joined(self._turn(node.item, n, node.least, endless=endless) for n in range(node.least + more))

    def _turn(self, item: Node, number: int, least: int, *, endless: bool) -> _Part:
        """Return one turn of a repetition, the last one of an endless one its own follower."""
        looping = endless and number == least
        self._loops += looping
        part = self._part(item)
        if looping:
            self._follow(part.last, part.first)
        self._loops -= looping
        return part._replace(empty=part.empty or number >= least)

    def _resolve(self, boundary: int) -> None:
        """Put what may follow behind a word's end in a boundary's place."""
        mask, ends, copies = 1 << boundary, self.follow[boundary], 0
        for follower in bits(ends & ~1):
            taken = self.takes[follower] & ~WORD
            if follower in self._boundaries:
                raise NotExpressibleError("a boundary behind a boundary")
            if not taken:
                continue
            copy = self._position(taken)
            self.follow[-1] = self.follow[follower]
            if follower in self._looping:
                self._looping.add(len(self.takes) - 1)
            copies |= copy
        for position, followers in enumerate(self.follow):
            if followers & mask:
                if not self.takes[position] or self.takes[position] & ~WORD:
                    raise NotExpressibleError("a boundary that is not behind a word")
                self.follow[position] = followers & ~mask | copies | ends & 1

    def _late(self) -> list[bool]:
        """Return what a searching state does not follow: what repeats, and what is far from the beginning."""
        early, reached = 0, self.follow[0] & ~1
        for _ in range(_EARLY_BYTES):
            early |= reached
            for position in bits(reached):
                reached |= self.follow[position] & ~1
        return [bool(n) and (n in self._looping or not early >> n & 1) for n in range(len(self.takes))]


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, in order."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def positions_of(patterns: Sequence[tuple[str, bool]], asking: Sequence[tuple[str, bool]] = ()) -> Positions:
    """Return the positions of patterns, each with whether the case of its letters counts for nothing.

    ``asking``: those whose matches ask for the text behind them. Raises NotExpressibleError.
    """
    found, asking_ = ([read(text, ignore_case=ignore) for text, ignore in some] for some in (patterns, asking))
    return _Builder().positions(found, asking_)
