"""PURE: text -> one SELECT that asks the documented views alone. The text that was read is the text that is run.

PostgreSQL's own grammar reads it (libpg_query), so that nothing can mean one thing here and another there; every node
of its tree, each field of a node, each relation, function, operator and type must be on the list of ``allowed``.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from storage.plain_sql.allowed import (
    FUNCTIONS,
    INLINE,
    NODES,
    OPERATORS,
    SET_FUNCTIONS,
    TYPES,
    VALUE_FUNCTIONS,
    VIEWS,
    WORDS,
)

CHARS_MAX = 8_000
NODES_MAX = 2_000
"""Parts of the tree; what is planned and held grows with them."""
RELATIONS_MAX = 8
"""Relations that are joined or asked: the time that planning takes grows with their factorial."""
PRODUCTS_MAX = 30
"""Multiplications and divisions: one of 131,072 digits takes 0.14 s, in which PostgreSQL cannot be stopped."""
_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"})
_PRODUCTS = frozenset({"*", "/", "%", "mod", "div", "sqrt", "ln", "log", "round", "trunc", "width_bucket"})
# What a column is called that has no name.
_UNNAMED = frozenset({"case", "row", "array", "exists", "coalesce", "greatest", "least", "nullif", "key", "value"})
_OWN_COLUMNS = frozenset(column for columns in VIEWS.values() for column in columns)


class StatementError(Exception):
    """A statement that is not run; its text says what is wrong with it, and may repeat a word of it."""


@dataclass(slots=True)
class _Check:
    """What was seen of a statement so far."""

    nodes: int = 0
    products: int = 0
    relations: list[str] = field(default_factory=list)
    qualified: list[tuple[str, str]] = field(default_factory=list)
    """(alias, column) of every column that is named with its relation."""
    named: set[str] = field(default_factory=set)
    """Names that the statement gives to columns."""
    of_functions: dict[str, set[str]] = field(default_factory=dict)
    """Aliases of functions in FROM with the columns they name: for any other f ``alias.f`` would be a call of f."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT that may be run, without what stands behind it, and the views it asks, each once."""

    text: str
    views: list[str]


def read(text: str) -> Statement:
    """Return the statement of a text. Raises StatementError: it is not one that may be run."""
    try:
        tree, own = _tree(text)
        check = _checked(tree)
    except RecursionError:
        raise StatementError("the statement is nested too deeply") from None
    for alias, column in check.qualified:
        known = check.of_functions.get(alias, check.named | FUNCTIONS) | _OWN_COLUMNS | _UNNAMED
        if column not in known:
            raise StatementError(f"there is no column {alias}.{column}.{_near(column, _OWN_COLUMNS)}")
    return Statement(own, sorted(set(check.relations)))


def _tree(text: str) -> tuple[dict[str, Any], str]:
    """Return the one SELECT of a text, and its own text."""
    import pgparse  # noqa: PLC0415 - an extra; only who switches SQL on has it

    if len(text) > CHARS_MAX:
        raise StatementError(f"the statement has {len(text)} characters; {CHARS_MAX} at most")
    if "\x00" in text:
        raise StatementError("the statement contains the character U+0000")
    try:
        statements = pgparse.parse(text)
    except UnicodeEncodeError:
        raise StatementError("the statement holds half a surrogate pair") from None
    except pgparse.PGQueryError as error:
        raise StatementError(f"{error.message} (character {error.position})") from error
    if len(statements) != 1:
        raise StatementError(f"one SELECT is wanted; these are {len(statements)} statements")
    tree: dict[str, Any] = statements[0]["stmt"]
    if list(tree) != ["SelectStmt"]:
        kind = next(iter(tree)).removesuffix("Stmt")
        raise StatementError(f"this is {kind.upper()}; only SELECT is run")
    length = statements[0].get("stmt_len")  # of bytes; where something follows
    begin = statements[0].get("stmt_location", 0)
    own = text.encode()[begin : begin + length].decode() if length else text
    return tree, own


def _checked(tree: dict[str, Any]) -> _Check:
    check = _Check()
    _node(check, "SelectStmt", tree["SelectStmt"], frozenset())
    if len(check.relations) > RELATIONS_MAX:
        raise StatementError(f"{len(check.relations)} relations are asked; {RELATIONS_MAX} at most")
    return check


def _node(check: _Check, kind: str, fields: dict[str, Any], known: frozenset[str]) -> None:
    """Check one node and all below it; ``known``: the common table expressions in sight."""
    check.nodes += 1
    if check.nodes > NODES_MAX:
        raise StatementError(f"the statement has more than {NODES_MAX} parts")
    if kind not in NODES:
        raise StatementError(f"{WORDS.get(kind, kind)} is not allowed")
    for name in fields:
        if name not in NODES[kind] and name != "location":
            raise StatementError(f"{WORDS.get(name, name)} is not allowed")
    look = _LOOKS.get(kind)
    if look is not None:
        look(check, fields, known)
    if kind == "SelectStmt":
        known = _with(check, fields, known)
    for name, value in fields.items():
        if (kind, name) != ("SelectStmt", "withClause"):
            _value(check, kind, name, value, known)


def _with(check: _Check, select: dict[str, Any], known: frozenset[str]) -> frozenset[str]:
    """Check the common table expressions of a SELECT; return what is in sight of the rest of it."""
    clause = select.get("withClause")
    if clause is None:
        return known
    check.nodes += 1
    for name in clause:
        if name not in {*NODES["WithClause"], "location"}:
            raise StatementError(f"{WORDS.get(name, name)} is not allowed")
    for each in clause["ctes"]:
        _value(check, "WithClause", "ctes", each, known)
        name = each["CommonTableExpr"]["ctename"]
        if name in VIEWS:
            raise StatementError(f"{name} is a view; give the common table expression another name")
        known |= {name}
    return known


def _value(check: _Check, parent: str, name: str, value: Any, known: frozenset[str]) -> None:
    """Check the value of a field: nodes, lists of them, or what is no node."""
    if isinstance(value, list):
        for each in value:
            _value(check, parent, name, each, known)
    elif isinstance(value, dict) and value:
        inline = INLINE.get((parent, name))
        if inline is not None:
            _node(check, inline, value, known)
        else:
            ((kind, fields),) = value.items() if len(value) == 1 else [(f"{parent}.{name}", {})]
            _node(check, kind, fields, known)


def _relation(check: _Check, fields: dict[str, Any], known: frozenset[str]) -> None:
    name = fields["relname"]
    if "schemaname" in fields or "catalogname" in fields:
        raise StatementError(f"name the view without a schema: {name}")
    if name in known:
        return
    if name not in VIEWS:
        raise StatementError(f"there is no view {name}.{_near(name, VIEWS)} There are {', '.join(VIEWS)}")
    check.relations.append(name)


def _function(check: _Check, fields: dict[str, Any], __: frozenset[str]) -> None:
    name = _name(fields["funcname"])
    if name not in FUNCTIONS:
        allowed = ", ".join(sorted(FUNCTIONS))
        raise StatementError(f"the function {name} is not allowed.{_near(name, FUNCTIONS)} Allowed are {allowed}")
    _product(check, name)


def _product(check: _Check, name: str) -> None:
    check.products += name in _PRODUCTS
    if check.products > PRODUCTS_MAX:
        raise StatementError(f"more than {PRODUCTS_MAX} multiplications and divisions")


def _operator(check: _Check, fields: dict[str, Any], __: frozenset[str]) -> None:
    name = _name(fields["name"])
    if name not in OPERATORS:
        raise StatementError(f"the operator {name} is not allowed; allowed are {' '.join(sorted(OPERATORS))}")
    _product(check, name)


def _type(_: _Check, fields: dict[str, Any], __: frozenset[str]) -> None:
    name = _name(fields["names"])
    if name not in TYPES:
        raise StatementError(f"the type {name} is not allowed; allowed are {' '.join(sorted(TYPES))}")


def _column(check: _Check, fields: dict[str, Any], _: frozenset[str]) -> None:
    parts = [part["String"]["sval"] if "String" in part else "*" for part in fields["fields"]]
    if len(parts) > 2:  # noqa: PLR2004 - relation and column
        raise StatementError(f"name a column as relation.column: {'.'.join(parts)}")
    if parts[-1] in _SYSTEM_COLUMNS:
        raise StatementError(f"the system column {parts[-1]} is not allowed")
    if len(parts) == 2 and parts[1] != "*":  # noqa: PLR2004
        check.qualified.append((parts[0], parts[1]))


def _value_function(_: _Check, fields: dict[str, Any], __: frozenset[str]) -> None:
    if fields["op"] not in VALUE_FUNCTIONS:
        raise StatementError(f"{fields['op'].removeprefix('SVFOP_').lower()} is not allowed")


def _subscript(_: _Check, fields: dict[str, Any], __: frozenset[str]) -> None:
    # (value).name is a call of the function name.
    if any("A_Indices" not in part for part in fields["indirection"]):
        raise StatementError("a name behind brackets, as in (value).name, is not allowed")


def _sort(_: _Check, fields: dict[str, Any], __: frozenset[str]) -> None:
    if fields.get("sortby_dir") == "SORTBY_USING":
        raise StatementError("ORDER BY USING is not allowed")


def _target(check: _Check, fields: dict[str, Any], _: frozenset[str]) -> None:
    if "name" in fields:
        check.named.add(fields["name"])


def _alias(check: _Check, fields: dict[str, Any], _: frozenset[str]) -> None:
    check.named |= {part["String"]["sval"] for part in fields.get("colnames", ())}


def _table_expression(check: _Check, fields: dict[str, Any], _: frozenset[str]) -> None:
    check.named |= {part["String"]["sval"] for part in fields.get("aliascolnames", ())}
    if "SelectStmt" not in fields["ctequery"]:
        raise StatementError("only SELECT may stand in WITH")


def _in_from(check: _Check, fields: dict[str, Any], _: frozenset[str]) -> None:
    for call in _calls(fields["functions"]):
        name = _name(call["funcname"]) if call is not None else "this"
        if name not in SET_FUNCTIONS:
            raise StatementError(f"in FROM {name} is not allowed; allowed are {', '.join(SET_FUNCTIONS)}")
        alias = fields.get("alias", {})
        columns = {part["String"]["sval"] for part in alias.get("colnames", ())}
        called = alias.get("aliasname", name)
        # One alias in two places: what both of them name.
        check.of_functions[called] = check.of_functions.get(called, columns) & columns


def _calls(functions: list[dict[str, Any]]) -> Iterator[dict[str, Any] | None]:
    for each in functions:
        yield each["List"]["items"][0].get("FuncCall")


_LOOKS = {
    "RangeVar": _relation,
    "FuncCall": _function,
    "A_Expr": _operator,
    "TypeName": _type,
    "ColumnRef": _column,
    "SQLValueFunction": _value_function,
    "A_Indirection": _subscript,
    "SortBy": _sort,
    "ResTarget": _target,
    "Alias": _alias,
    "CommonTableExpr": _table_expression,
    "RangeFunction": _in_from,
}


def _name(parts: list[dict[str, Any]]) -> str:
    """Return a name; one of another schema than pg_catalog, which the grammar itself writes, with its schema."""
    names = [part["String"]["sval"] for part in parts]
    return ".".join(names[1:] if names[0] == "pg_catalog" and len(names) > 1 else names)


def _near(word: str, known: Collection[str]) -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""
