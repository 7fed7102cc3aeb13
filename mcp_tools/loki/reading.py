"""PURE: the text of a LogQL query -> tree. Raises LogQLError, in Loki's words where it has some."""

import json
import re
from typing import Any

from lark import Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from mcp_tools.go_values import duration_ns
from mcp_tools.loki.grammar import parser
from mcp_tools.loki.tree import Aggregated, Constant, Counted, LineFilter, Lines, Matcher, Metric, Query
from storage.query import regex

# As Loki's own default limits and a line of an address allow; each filter is a condition that is checked line by line.
QUERY_CHARS_MAX = 5_000
FILTERS_MAX = 32
_NESTED_MAX = 16
_EMPTY = (
    "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For "
    'instance, app=~".*" does not meet this requirement, but app=~".+" will'
)
_NAMES = {
    "$END": "end of query", "STRING": "STRING", "NAME": "IDENTIFIER", "NUMBER": "NUMBER", "RANGE": "RANGE",
    "LBRACE": "{", "RBRACE": "}", "LPAR": "(", "RPAR": ")", "COMMA": ",", "VBAR": "|", "EQ": "=", "NEQ": "!=",
    "MATCHES": "=~", "NMATCHES": "!~", "CONTAINS": "|=", "LINE_MATCHES": "|~", "PLUS": "+", "OR": "or", "BY": "by",
    "WITHOUT": "without",
}  # fmt: skip


class LogQLError(ValueError):
    """A query that cannot be answered; the text is the whole sentence."""


def parse(text: str) -> Query:
    """Return what a query asks for."""
    if len(text) > QUERY_CHARS_MAX:
        raise LogQLError(f"query length {len(text)} exceeds the limit of {QUERY_CHARS_MAX} characters")
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise LogQLError("parse error : the query holds a character that no line holds (U+0000 or half a pair)")
    try:
        return _query(parser().parse(text).children[0])
    except UnexpectedInput as error:
        raise LogQLError(_syntax(error, text)) from None
    except regex.RegexError as error:
        raise LogQLError(f"parse error : {error}") from None
    except RecursionError:
        raise LogQLError(f"parse error : a query nests {_NESTED_MAX} deep at most") from None


def _query(tree: Any) -> Query:
    if tree.data == "lines":
        return _lines(tree.children)
    return _metric(tree, 1)


def _lines(parts: list[Any]) -> Lines:
    """Return matchers and filters; label filters of the pipeline are matchers as well: the labels are the record's."""
    matchers: list[Matcher] = []
    filters: list[LineFilter] = []
    for part in parts:
        if part.data == "selector":
            matchers += [_matcher(child) for child in part.children if child is not None]
        elif part.data == "label_filter":
            matchers.append(_matcher(part))
        elif part.data == "line_filter":
            filters.append(_filter(part))
        elif part.data == "unsupported":
            raise LogQLError(
                f'parse error : stage "| {part.children[0]}" is not supported; there are line filters (|= != |~ !~), '
                'label filters such as | level="error" and | drop'
            )
    selected = [_matcher(child) for part in parts if part.data == "selector" for child in part.children if child]
    if not any(_needs_value(m) for m in selected):
        raise LogQLError(f"parse error : {_EMPTY}")
    if len(matchers) + len(filters) > FILTERS_MAX:
        raise LogQLError(f"parse error : a query has {FILTERS_MAX} matchers and filters at most")
    return Lines(tuple(matchers), tuple(filters))


def _needs_value(matcher: Matcher) -> bool:
    if matcher.operator == "=":
        return bool(matcher.value)
    return matcher.operator == "=~" and not regex.fullmatch(matcher.value, "")


def _matcher(tree: Any) -> Matcher:
    name, operator, value = tree.children
    found = Matcher(str(name), str(operator.children[0]), _string(value))  # type: ignore[arg-type]
    if found.operator in {"=~", "!~"}:
        regex.check(found.value)
    return found


def _filter(tree: Any) -> LineFilter:
    operator, *rest = tree.children
    found = LineFilter(str(operator), tuple(_string(t) for t in rest if t.type == "STRING"))  # type: ignore[arg-type]
    if found.operator in {"|~", "!~"}:
        for value in found.values:
            regex.to_postgresql(value)
    return found


def _metric(tree: Any, depth: int) -> Metric:
    if depth > _NESTED_MAX:
        raise LogQLError(f"parse error : a query nests {_NESTED_MAX} deep at most")
    if tree.data == "counted":
        return _counted(tree)
    if tree.data in {"vector", "scalar"}:
        return Constant(float(tree.children[-1]), scalar=tree.data == "scalar")
    if tree.data == "plus":
        left, _, right = tree.children
        return _sum(_metric(left, depth + 1), _metric(right, depth + 1))
    parts = [c for c in tree.children if isinstance(c, Tree)]
    grouping = next((c for c in parts if c.data == "grouping"), None)
    inner = _metric(next(c for c in parts if c.data != "grouping"), depth + 1)
    if isinstance(inner, Constant) and inner.scalar:
        raise LogQLError("parse error : an aggregation takes a vector, not a number")
    labels, without = _grouping(grouping)
    k = (
        int(float(next(c for c in tree.children if isinstance(c, Token) and c.type == "NUMBER")))
        if tree.data == "topped"
        else 0
    )
    return Aggregated(str(tree.children[0]), inner, labels, without, k)  # type: ignore[arg-type]


def _sum(left: Metric, right: Metric) -> Metric:
    if not isinstance(left, Constant) or not isinstance(right, Constant):
        raise LogQLError("parse error : binary operations are supported between numbers and vector() alone")
    return Constant(left.value + right.value, left.scalar and right.scalar)


def _counted(tree: Any) -> Counted:
    function, *parts = tree.children
    if function not in {"count_over_time", "rate"}:
        raise LogQLError(f"parse error : {function}() is not supported; there are count_over_time() and rate()")
    window = next(p for p in parts if isinstance(p, Token))
    try:
        range_ns = duration_ns(window[1:-1].strip())
    except ValueError as error:
        raise LogQLError(f"parse error : not a valid duration string: {error}") from None
    if range_ns <= 0:
        raise LogQLError("parse error : the range of a vector is more than nothing")
    return Counted(str(function), _lines([p for p in parts if isinstance(p, Tree)]), range_ns)  # type: ignore[arg-type]


def _grouping(tree: Any) -> tuple[tuple[str, ...], bool]:
    if tree is None:
        return (), False
    names = next((c for c in tree.children if isinstance(c, Tree)), None)
    labels = tuple(str(n) for n in names.children) if names is not None else ()
    return labels, tree.children[0] == "without"


def _string(token: Token) -> str:
    """Return what a string of Go says: escapes between double quotes, everything as it is between backticks."""
    if token.startswith("`"):
        return token[1:-1]
    try:
        return str(json.loads(re.sub(r"\\(x[0-9a-fA-F]{2}|[av'])", _go_escape, token)))
    except ValueError:
        raise LogQLError(f"parse error at line {token.line}, col {token.column}: invalid char escape") from None


def _go_escape(found: "re.Match[str]") -> str:
    escaped = found[1]
    if escaped.startswith("x"):
        return f"\\u00{escaped[1:]}"
    return {"a": "\\u0007", "v": "\\u000b", "'": "'"}[escaped]


def _syntax(error: UnexpectedInput, text: str) -> str:
    position = error.pos_in_stream or 0
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        position = len(text)
    before = text[:position]
    line, column = before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
    place = f"parse error at line {line}, col {column}: syntax error"
    if isinstance(error, UnexpectedToken):
        token, wanted = error.token, sorted(error.accepts or error.expected)
        met = _NAMES.get(token.type, str(token)[:40])
        shown = [_NAMES[name] for name in wanted if name in _NAMES][:4]
        return f"{place}: unexpected {met}" + (f", expecting {' or '.join(shown)}" if shown else "")
    if isinstance(error, UnexpectedCharacters):
        return f"{place}: unexpected {error.char!r}"
    return place
