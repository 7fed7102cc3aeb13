"""PURE: text -> tree. Any text ends in a tree or in one QueryError that says where and what would be right."""

from difflib import get_close_matches

from lark import Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from storage.query import values
from storage.query.errors import QueryError
from storage.query.fields import FIELDS, NAMES, Signal
from storage.query.grammar import parser
from storage.query.tree import (
    EVERYTHING,
    Attribute,
    Node,
    Scope,
    Text,
    conjunction,
    depth,
    disjunction,
    leaves,
    negation,
)
from storage.query.words import pieces_of, unquoted

# What people type is a line; an address of a request holds this much in any proxy.
QUERY_CHARS_MAX = 2_000
# Each term is a condition that PostgreSQL plans and checks for each row.
TERMS_MAX = 64
# Nesting beyond what anyone reads; SQLAlchemy compiles conditions by recursion.
DEPTH_MAX = 16
# Of the parse tree, where a chain of NOT has not cancelled out yet.
_PARSED_DEPTH_MAX = 100
_PLURALS = {"logs": "log records", "spans": "spans"}
_PREFIXES: tuple[tuple[str, Scope], ...] = (("@", "any"), ("resource.", "resource"))
_OTHER: dict[Signal, Signal] = {"logs": "spans", "spans": "logs"}


def parse(text: str, signal: Signal = "logs") -> Node:
    """Return what ``text`` asks of log records or spans; of nothing but spaces: everything. Raises QueryError."""
    if len(text) > QUERY_CHARS_MAX:
        raise QueryError(f"a query has {QUERY_CHARS_MAX:,} characters at most", text, QUERY_CHARS_MAX)
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise QueryError(f"no record holds the character U+{ord(character):04X}", text, position)
    try:
        tree = parser().parse(text)
        parts = [part for part in tree.children if isinstance(part, Tree)]
        node = _Reading(text, signal).node(parts[0], 1) if parts else EVERYTHING
    except UnexpectedInput as error:
        raise _misread(error, text) from None
    except values.ValueProblem as problem:
        raise QueryError(problem.message, text, problem.position, problem.length) from None
    if sum(1 for _ in leaves(node)) > TERMS_MAX:
        raise QueryError(f"a query has {TERMS_MAX} terms at most", text, len(text) - 1)
    if depth(node) > DEPTH_MAX:
        raise _too_deep(text)
    return node


def _too_deep(text: str) -> QueryError:
    return QueryError(f"a query nests {DEPTH_MAX} deep at most", text, 0)


class _Reading:
    """Makes nodes of parse trees."""

    def __init__(self, text: str, signal: Signal) -> None:
        self._text = text
        self._signal = signal

    def node(self, part: "Tree[Token]", level: int) -> Node:
        """Return the node of one parse tree."""
        if level > _PARSED_DEPTH_MAX:
            raise _too_deep(self._text)
        if part.data == "word":
            return _text(pieces_of(str(part.children[0])))
        if part.data == "phrase":
            return self._phrase(part.children[0])
        if part.data == "field":
            return self._field(*part.children)
        operands = [self.node(child, level + 1) for child in part.children if isinstance(child, Tree)]
        if part.data == "negated":
            return negation(operands[0])
        return conjunction(*operands) if part.data == "conjunction" else disjunction(*operands)

    def _phrase(self, token: "Token | Tree[Token]") -> Node:
        text = unquoted(str(token))
        if not text:
            assert isinstance(token, Token)  # noqa: S101 - the grammar has nothing else here
            raise values.ValueProblem("there is nothing between the quotes", token)
        return Text((text,))

    def _field(self, name: "Token | Tree[Token]", test: "Token | Tree[Token]") -> Node:
        assert isinstance(name, Token)  # noqa: S101 - the grammar has nothing else here
        assert isinstance(test, Tree)  # noqa: S101
        written = name[:-1]
        if test.data == "alternatives":
            parts = [child for child in test.children if isinstance(child, Tree)]
            return disjunction(*(self._tested(written, name, part) for part in parts))
        return self._tested(written, name, test)

    def _tested(self, written: str, name: Token, test: "Tree[Token]") -> Node:
        known = NAMES[self._signal].get(written) or NAMES[self._signal].get(written.lower())
        if known is not None:
            return values.of_field(known, FIELDS[self._signal][known], test)
        for prefix, scope in _PREFIXES:
            if written.startswith(prefix):
                return Attribute(_key(written[len(prefix) :], name), values.of_attribute(test), scope)
        if "." not in written:
            raise values.ValueProblem(self._unknown(written), name, cut=1)
        return Attribute(_key(written, name), values.of_attribute(test))

    def _unknown(self, written: str) -> str:
        """Return the sentence about a field that there is not."""
        known, other = NAMES[self._signal], NAMES[_OTHER[self._signal]]
        near = get_close_matches(written.lower(), list(known), n=1, cutoff=0.6)
        head = f'there is no field "{written}" of {_PLURALS[self._signal]}'
        if near:
            return f'{head}; did you mean "{near[0]}"? An attribute is written @{written}'
        if written.lower() in other:
            return f"{head}; {_PLURALS[_OTHER[self._signal]]} have it. An attribute is written @{written}"
        listed = ", ".join(FIELDS[self._signal])
        return f"{head}: there are {listed}. An attribute is written @{written}; text with a colon goes in quotes"


def _key(written: str, name: Token) -> str:
    """Return an attribute's key, out of its quotes and escapes."""
    if written.startswith('"'):
        return unquoted(written)
    if not written:
        raise values.ValueProblem("the name of the attribute is missing, as in @http.route:/pay", name)
    return "*".join(pieces_of(written.replace("*", r"\*")))


def _text(pieces: tuple[str, ...]) -> Node:
    """Return the search for a bare word; a wildcard at its ends says nothing, for it may stand anywhere."""
    inner = tuple(piece for piece in pieces if piece)
    return Text(inner) if inner else EVERYTHING


def _misread(error: UnexpectedInput, text: str) -> QueryError:
    """Return what the parser stumbled on, in words."""
    if isinstance(error, UnexpectedToken):
        token, wanted = error.token, set(error.accepts or error.expected)
        ends = token.type == "$END"
        position = len(text.rstrip()) if ends else token.start_pos or 0
        length = 1 if ends else max(len(token), 1)
        return QueryError(_sentence(token.type, str(token), wanted), text, position, length)
    position = error.pos_in_stream or 0
    character = text[position] if isinstance(error, UnexpectedCharacters) else ""
    if character == '"':
        return QueryError("the quote that opens here is not closed", text, position)
    if character == "\\":
        return QueryError("a backslash stands before the character it protects", text, position)
    return QueryError(f'"{character}" cannot stand here; text with such characters goes in quotes', text, position)


# What belonged where the parser stopped, the narrowest first.
_WANTED = (
    ("OPERATOR", "a value belongs after the colon, as in component:shop"),
    ("_TO", "an interval is written [400 TO 499]; TO is missing"),
    ("CLOSES", "the interval is not closed; it is written [400 TO 499]"),
    ("BOUND", "a bound of the interval belongs here, as in [400 TO 499]; * leaves it open"),
    ("VALUE", "a value belongs here"),
)


def _sentence(kind: str, token: str, wanted: set[str]) -> str:
    for name, sentence in _WANTED:
        if name in wanted:
            return sentence
    if kind == "$END":
        return "the ( is not closed" if "RPAR" in wanted else "the query ends where a term belongs"
    if kind == "RPAR":
        return "there is no ( for this )" if "$END" in wanted else "a term belongs before the )"
    if "RPAR" in wanted and "WORD" not in wanted:
        return "values in ( ) are separated by OR"
    if kind in {"_OR", "_AND"}:
        return f"{token} stands between two terms; as text it goes in quotes"
    return f'"{token[:40]}" cannot stand here; text with a colon goes in quotes'
