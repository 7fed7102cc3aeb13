"""PURE: what a query means, as a tree; ``text_of`` writes it as a query again: parse(text_of(tree)) == tree.

Trees are made by ``conjunction``, ``disjunction`` and ``negation``, which keep them in one form: no And directly in
an And, no Or directly in an Or, no Not of a Not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Scope = Literal["any", "resource"]


@dataclass(frozen=True, slots=True)
class Is:
    """Equal to ``text``; ``loose``: it was written without quotes and looks like a number or true/false, both count."""

    text: str
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Like:
    """Made of these pieces with anything between them: ("/pay", "") is /pay*. Two pieces at least."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """A number in an interval; None: open on that side. Levels are severity numbers, durations nanoseconds."""

    low: int | float | None
    high: int | float | None
    low_included: bool = True
    high_included: bool = True


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value."""


Test = Is | Like | Between | Exists


@dataclass(frozen=True, slots=True)
class Text:
    """The text of the record holds these pieces in this order, in any case; one piece: no wildcard."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the record itself, by its name in ``fields``."""

    name: str
    test: Test


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the record or, with scope "any", of its resource as well."""

    key: str
    test: Test
    scope: Scope = "any"


@dataclass(frozen=True, slots=True)
class Not:
    """What the operand does not hold for, records without the field included."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """All of them; of none: every record."""

    operands: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """One of them at least."""

    operands: "tuple[Node, ...]"


Leaf = Text | Field | Attribute
Node = Leaf | Not | And | Or

EVERYTHING = And(())


def conjunction(*operands: Node) -> Node:
    """Return what all of the operands hold for."""
    flat: list[Node] = []
    for operand in operands:
        flat += operand.operands if isinstance(operand, And) else [operand]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def disjunction(*operands: Node) -> Node:
    """Return what one of the operands (at least one is given) holds for."""
    flat: list[Node] = []
    for operand in operands:
        flat += operand.operands if isinstance(operand, Or) else [operand]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negation(operand: Node) -> Node:
    """Return what the operand does not hold for."""
    return operand.operand if isinstance(operand, Not) else Not(operand)


def leaves(node: Node) -> Iterator[Leaf]:
    """Yield the terms of a tree from left to right."""
    if isinstance(node, Not):
        yield from leaves(node.operand)
    elif isinstance(node, And | Or):
        for operand in node.operands:
            yield from leaves(operand)
    else:
        yield node


def depth(node: Node) -> int:
    """Return how deep a tree nests; a term is 1."""
    if isinstance(node, Not):
        return 1 + depth(node.operand)
    if isinstance(node, And | Or):
        return 1 + max((depth(operand) for operand in node.operands), default=0)
    return 1
