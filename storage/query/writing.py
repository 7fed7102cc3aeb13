"""PURE: tree -> the text of a query that means it."""

from storage.query.fields import BAND, DURATION_UNITS_NS, SEVERITIES
from storage.query.tree import EVERYTHING, And, Attribute, Between, Exists, Is, Leaf, Like, Node, Not, Or, Test, Text
from storage.query.words import looks_loose, quoted, with_wildcards, written

_BAND_NAMES = {first: name for name, first in SEVERITIES.items()}


def text_of(node: Node) -> str:
    """Return a query that is read as ``node`` again."""
    if node == EVERYTHING:
        return "*"
    if isinstance(node, Not):
        inner = text_of(node.operand)
        return (
            f"NOT {inner if node.operand == EVERYTHING else f'({inner})'}" if _compound(node.operand) else f"-{inner}"
        )
    if isinstance(node, And | Or):
        parts = [f"({text_of(o)})" if _compound(o) and o != EVERYTHING else text_of(o) for o in node.operands]
        return (" OR " if isinstance(node, Or) else " ").join(parts)
    return _leaf(node)


def _leaf(node: Leaf) -> str:
    if isinstance(node, Text):
        if node.pieces == ("",):
            return "body:*"
        return with_wildcards(node.pieces) if len(node.pieces) > 1 else _term(node.pieces[0])
    if isinstance(node, Attribute):
        return f"{_key(node)}:{_test(node.test)}"
    if isinstance(node.test, Between):
        interval = {"level": _levels, "duration": _durations}[node.name]
        return f"{node.name}:{interval(node.test)}"
    return f"{node.name}:{_test(node.test)}"


def _compound(node: Node) -> bool:
    return isinstance(node, And | Or)


def _term(text: str) -> str:
    """Return a word that stands alone, where 404 is text anyway."""
    return written(text, loose=looks_loose(text) and text.isalnum())


def _key(attribute: Attribute) -> str:
    prefix = "@" if attribute.scope == "any" else "resource."
    plain = attribute.key and all(c.isascii() and (c.isalnum() or c in "._-/") for c in attribute.key)
    return prefix + (attribute.key if plain else f'"{quoted(attribute.key)}"')


def _test(test: Test) -> str:
    if isinstance(test, Is):
        return written(test.text, loose=test.loose)
    if isinstance(test, Like):
        return with_wildcards(test.pieces)
    if isinstance(test, Exists):
        return "*"
    return _interval(test, "*" if test.low is None else repr(test.low), "*" if test.high is None else repr(test.high))


def _interval(test: Between, low: str, high: str) -> str:
    if test.high is None:
        return f"{'>=' if test.low_included else '>'}{low}"
    if test.low is None:
        return f"{'<=' if test.high_included else '<'}{high}"
    return f"{'[' if test.low_included else '{'}{low} TO {high}{']' if test.high_included else '}'}"


def _levels(test: Between) -> str:
    low, high = test.low, test.high
    first = _BAND_NAMES.get(int(low)) if low is not None else None
    if high is None:
        return f">={first or low}"
    if low == high:
        return str(low)
    if first and low is not None and high == low + BAND - 1:
        return first
    below = _BAND_NAMES.get(int(high) + 1)
    return f"<{below}" if low == 1 and below else f"[{low} TO {high}]"


def _durations(test: Between) -> str:
    low, high = ("*" if ns is None else _duration(int(ns)) for ns in (test.low, test.high))
    return low if test.low == test.high else _interval(test, low, high)


def _duration(ns: int) -> str:
    unit, factor = next((u, f) for u, f in DURATION_UNITS_NS.items() if ns % f == 0)
    return f"{ns // factor}{unit}"
