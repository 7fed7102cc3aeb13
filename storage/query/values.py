"""PURE: what stands after the colon -> a test, by the kind of the field. Raises ValueProblem."""

import re
from decimal import Decimal

from lark import Token, Tree

from storage.query.fields import (
    BAND,
    DURATION_UNITS_NS,
    SEVERITIES,
    SEVERITY_ALIASES,
    SEVERITY_MAX,
    SPAN_KINDS,
    STATUSES,
    FieldSpec,
)
from storage.query.tree import Between, Exists, Field, Is, Like, Node, Test, Text, negation
from storage.query.words import looks_loose, number_of, pieces_of, unquoted

_DURATION = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)(h|ms|us|ns|m|s)\Z")
_INT64_MAX = (1 << 63) - 1
_HEX = re.compile(r"[0-9a-f]*\Z")


class ValueProblem(Exception):  # noqa: N818 - becomes a QueryError, which knows the text around it
    """A value that does not fit, and where it stands; ``cut``: characters at the end of the token that are fine."""

    def __init__(self, message: str, token: Token, cut: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.position = token.start_pos or 0
        self.length = max(len(token) - cut, 1)


def of_field(name: str, spec: FieldSpec, test: "Tree[Token]") -> Node:  # noqa: PLR0911 - one line a kind
    """Return the node of a known field and what stands after its colon."""
    if spec.kind == "level":
        return _level(name, test)
    if spec.kind == "duration":
        return Field(name, _duration(test))
    if test.data != "scalar":
        raise ValueProblem(f"{name} cannot be compared; it is written {spec.example}", _first(test))
    token = _first(test)
    if _is_star(token) and spec.kind != "body":
        return Field(name, Exists())
    pieces = _pieces(token)
    if spec.kind == "body":
        return _body(pieces, token)
    if spec.kind == "hex":
        return Field(name, _hexadecimal(name, spec, pieces, token))
    if spec.kind == "text":
        return Field(name, Is(pieces[0]) if len(pieces) == 1 else Like(pieces))
    return _one_of(name, SPAN_KINDS if spec.kind == "kind" else (*STATUSES, "unset"), pieces, token)


def _one_of(name: str, known: tuple[str, ...], pieces: tuple[str, ...], token: Token) -> Node:
    word = pieces[0].lower()
    if len(pieces) > 1 or word not in known:
        raise ValueProblem(f"{name} is one of {', '.join(known)}", token)
    return negation(Field(name, Exists())) if word == "unset" else Field(name, Is(word))


def of_attribute(test: "Tree[Token]") -> Test:
    """Return the test of an attribute."""
    if test.data == "scalar":
        token = _first(test)
        if _is_star(token):
            return Exists()
        pieces = _pieces(token)
        if len(pieces) > 1:
            return Like(pieces)
        return Is(pieces[0], loose=token.type != "QUOTED" and str(token) == pieces[0] and looks_loose(pieces[0]))
    low, high, low_included, high_included = _edges(test)
    return Between(_number(low), _number(high), low_included=low_included, high_included=high_included)


def _level(name: str, test: "Tree[Token]") -> Node:
    if test.data != "scalar":
        low, high, low_included, high_included = _edges(test)
        return Field(name, _levels(low, high, low_included=low_included, high_included=high_included))
    token = _first(test)
    if _is_star(token):
        return Field(name, Exists())
    if str(token).lower() == "unset":
        return negation(Field(name, Exists()))
    first, last = _severities(token)
    return Field(name, Between(first, last))


def _duration(test: "Tree[Token]") -> Between:
    if test.data == "scalar":
        exactly = _duration_ns(_first(test))
        return Between(exactly, exactly)
    low, high, low_included, high_included = _edges(test)
    first, last = (None if token is None else _duration_ns(token) for token in (low, high))
    return Between(first, last, low_included=low_included, high_included=high_included)


def _levels(low: Token | None, high: Token | None, *, low_included: bool, high_included: bool) -> Between:
    """Return whole severity numbers, from 1 on: a record without a level is below none."""
    first, last = 1, None
    if low is not None:
        first = _severities(low)[0] if low_included else _severities(low)[1] + 1
    if high is not None:
        last = _severities(high)[1] if high_included else _severities(high)[0] - 1
    token = low or high
    assert token is not None  # noqa: S101 - ``_edges`` gives one of them
    if first > SEVERITY_MAX or (last is not None and last < first):
        raise ValueProblem("no level is in this interval", token)
    return Between(first, last)


def _edges(test: "Tree[Token]") -> tuple[Token | None, Token | None, bool, bool]:
    """Return the bounds of a comparison or an interval, None where open, and whether each belongs to it."""
    if test.data == "comparison":
        operator, token = test.children[0], _first(test)
        if operator in {">", ">="}:
            return token, None, operator == ">=", True
        return None, token, True, operator == "<="
    tokens = list(test.scan_values(lambda value: isinstance(value, Token)))
    opens, low, high, closes = tokens
    bounds = [None if _is_star(token) else token for token in (low, high)]
    if bounds == [None, None]:
        raise ValueProblem("one bound of the interval is needed at least", low)
    # An open side has no bound that could belong to it.
    return bounds[0], bounds[1], opens == "[" or bounds[0] is None, closes == "]" or bounds[1] is None


def _number(token: Token | None) -> int | float | None:
    if token is None:
        return None
    number = number_of(str(token))
    if number is None:
        raise ValueProblem("attributes are compared with numbers, as in @http.status_code:>=500", token)
    return number


def _severities(token: Token) -> tuple[int, int]:
    """Return the first and the last severity number of a level."""
    word = (unquoted(str(token)) if token.type == "QUOTED" else str(token)).lower()
    word = SEVERITY_ALIASES.get(word, word)
    if word in SEVERITIES:
        return SEVERITIES[word], SEVERITIES[word] + BAND - 1
    if word.isascii() and word.isdigit() and len(word) <= 2 and 1 <= int(word) <= SEVERITY_MAX:  # noqa: PLR2004
        return int(word), int(word)
    names = ", ".join(SEVERITIES)
    raise ValueProblem(f"a level is one of {names}, unset, or a number from 1 to {SEVERITY_MAX}", token)


def _duration_ns(token: Token) -> int:
    match = _DURATION.match(str(token).lower())
    if match is None:
        raise ValueProblem('a duration is a number with its unit, as in "100ms", "1.5s" or "2m"', token)
    exact = Decimal(match[1]) * DURATION_UNITS_NS[match[2]]
    if exact != int(exact) or exact > _INT64_MAX:
        raise ValueProblem("a duration is a whole number of nanoseconds, and 292 years at most", token)
    return int(exact)


def _hexadecimal(name: str, spec: FieldSpec, pieces: tuple[str, ...], token: Token) -> Is | Like:
    prefix = pieces[0].replace("-", "").lower()
    if _HEX.match(prefix) and len(pieces) == 1 and len(prefix) == spec.digits:
        return Is(prefix)
    if _HEX.match(prefix) and len(pieces) == 2 and not pieces[1] and 0 < len(prefix) < spec.digits:  # noqa: PLR2004
        return Like((prefix, ""))
    raise ValueProblem(f"{name} takes {spec.digits} hexadecimal digits, or the first few and a *", token)


def _body(pieces: tuple[str, ...], token: Token) -> Node:
    inner = tuple(piece for piece in pieces if piece)
    if not inner and len(pieces) == 1:
        raise ValueProblem("there is nothing between the quotes", token)
    return Text(inner or ("",))


def _is_star(token: Token) -> bool:
    return token.type != "QUOTED" and pieces_of(str(token)) == ("", "")


def _pieces(token: Token) -> tuple[str, ...]:
    return (unquoted(str(token)),) if token.type == "QUOTED" else pieces_of(str(token))


def _first(test: "Tree[Token]") -> Token:
    """Return the token of the last scalar of a test: its value, or the first bound of an interval."""
    tokens = list(test.scan_values(lambda value: isinstance(value, Token)))
    return tokens[1] if len(tokens) > 1 else tokens[0]
