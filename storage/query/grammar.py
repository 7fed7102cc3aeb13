"""PURE: the grammar and its parser. LALR(1): the time grows with the text alone, and nesting needs no recursion."""

from functools import cache

from lark import Lark

# WORD stands where a term is expected and holds no colon; VALUE stands after a field and may hold one (times, URLs).
# The lexer is contextual: ">=", "[" and the like mean something after a field only.
GRAMMAR = r"""
start: [disjunction]
?disjunction: conjunction (_OR conjunction)*
?conjunction: negation (_AND? negation)*
?negation: (_NOT | _MINUS) negation -> negated
         | atom
?atom: "(" disjunction ")"
     | WORD -> word
     | QUOTED -> phrase
     | FIELD _test -> field

_test: scalar | comparison | interval | alternatives
comparison: OPERATOR scalar
interval: OPENS bound _TO bound CLOSES
alternatives: "(" scalar (_OR scalar)* ")"
scalar: VALUE | QUOTED
bound: BOUND | QUOTED

_OR.3: /OR(?=[\s()]|$)/
_AND.3: /AND(?=[\s()]|$)/
_NOT.3: /NOT(?=[\s()]|$)/
_TO.3: /TO(?=\s)/
_MINUS.2: "-"
OPERATOR.2: />=|<=|>|</
OPENS.2: /[\[{]/
CLOSES.2: /[\]}]/
FIELD.2: /(?:(?:@|resource\.)"(?:[^"\\]|\\[\s\S])*"|[^\s()":\\<>-](?:[^\s()":\\]|\\[\s\S])*):/
QUOTED: /"(?:[^"\\]|\\[\s\S])*"/
VALUE: /(?:[^\s()"\\\[\]{}<>]|\\[\s\S])(?:[^\s()"\\]|\\[\s\S])*/
BOUND: /(?:[^\s()"\\\[\]{}]|\\[\s\S])+/
WORD: /(?!(?:OR|AND|NOT)(?:[\s()]|$))(?:[^\s()":\\]|\\[\s\S])+/
%ignore /\s+/
"""


@cache
def parser() -> Lark:
    """Return the parser; made at the first query, since it takes a tenth of a second."""
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True)
