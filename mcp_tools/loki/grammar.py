"""PURE: the grammar of LogQL's part that is answered, and its parser."""

from functools import cache

from lark import Lark

GRAMMAR = r"""
start: lines | metric

lines: selector stage*
selector: "{" [matcher ("," matcher)* ","?] "}"
matcher: NAME operator STRING
operator: EQ | NEQ | MATCHES | NMATCHES
?stage: line_filter | "|" NAME operator STRING -> label_filter | DROP names -> dropped | "|" NAME STRING? -> unsupported
line_filter: (CONTAINS | NEQ | LINE_MATCHES | NMATCHES) STRING (OR STRING)*
names: NAME ("," NAME)*

?metric: term | metric PLUS term -> plus
?term: counted | aggregated | topped | vector | "(" metric ")"
counted: FUNCTION "(" selector stage* RANGE stage* ")"
aggregated: AGGREGATION grouping? "(" metric ")" grouping?
topped: TOP grouping? "(" NUMBER "," metric ")" grouping?
grouping: (BY | WITHOUT) "(" [names] ")"
vector: VECTOR "(" NUMBER ")" | NUMBER -> scalar

EQ: "="
NEQ: "!="
MATCHES: "=~"
NMATCHES: "!~"
CONTAINS: "|="
LINE_MATCHES: "|~"
PLUS: "+"
OR.2: /or\b/
BY.2: /by\b/
WITHOUT.2: /without\b/
DROP.2: /\|\s*drop\b/
VECTOR.3: /vector(?=\s*\()/
TOP.3: /(?:topk|bottomk)\b/
AGGREGATION.3: /(?:sum|min|max|avg|count)\b(?!_)/
FUNCTION.2: /[a-z_]+(?=\s*\()/
NUMBER: /[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/
RANGE: /\[[^\]]*\]/
NAME: /[a-zA-Z_][a-zA-Z0-9_]*/
STRING: /"(?:[^"\\\n]|\\.)*"|`[^`]*`/
%ignore /\s+/
%ignore /#[^\n]*/
"""


@cache
def parser() -> Lark:
    """Return the parser; made at the first query."""
    return Lark(GRAMMAR, parser="lalr", lexer="contextual")
