"""PURE: what a statement may be made of. Whatever does not stand here is refused; nothing is listed as forbidden.

No function or operator is here whose result can be larger than what it is given (``||``, ``repeat``, ``string_agg``,
``generate_series``), none that acts, waits, or tells something about the server.
"""

from collections.abc import Mapping

VIEWS: Mapping[str, tuple[str, ...]] = {
    "otel_logs": (
        "time", "level", "severity", "severity_number", "service", "body", "trace_id", "span_id", "event", "scope",
        "attributes", "resource", "trace_uuid", "id",
    ),
    "otel_spans": (
        "time", "service", "name", "kind", "status", "status_message", "duration_ms", "trace_id", "span_id",
        "parent_span_id", "scope", "attributes", "resource", "events", "links", "trace_uuid", "id",
    ),
    "otel_services": ("service",),
    "otel_traces_panel": (
        "traceID", "spanID", "parentSpanID", "operationName", "serviceName", "serviceTags", "startTime", "duration",
        "tags", "logs", "kind", "statusCode", "statusMessage", "time", "trace_uuid",
    ),
    "otel_service_red": ("time", "service", "requests", "errors", "p50_ms", "p95_ms", "p99_ms"),
    "otel_service_edges": ("time", "parent", "child", "calls", "errors"),
}  # fmt: skip
"""The documented views and their columns; a test holds them against the database."""

AGGREGATES = (
    "count", "sum", "avg", "min", "max", "bool_and", "bool_or", "every", "stddev", "stddev_pop", "stddev_samp",
    "variance", "var_pop", "var_samp", "corr", "mode", "percentile_cont", "percentile_disc",
)  # fmt: skip
WINDOW_FUNCTIONS = (
    "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value",
    "last_value", "nth_value",
)  # fmt: skip
SET_FUNCTIONS = (
    "jsonb_each", "jsonb_each_text", "jsonb_object_keys", "jsonb_array_elements", "jsonb_array_elements_text",
)  # fmt: skip
"""Those that make rows of a value; they stand in FROM as well."""
SCALARS = (
    "now", "date_trunc", "date_bin", "date_part", "extract", "age", "to_timestamp", "to_char", "timezone",
    "lower", "upper", "initcap", "length", "char_length", "left", "right", "substr", "substring", "split_part", "trim",
    "btrim", "ltrim", "rtrim", "strpos", "position", "starts_with", "reverse", "like_escape", "similar_to_escape",
    "regexp_match", "regexp_substr", "regexp_like", "regexp_count", "md5", "abs", "ceil", "ceiling", "floor", "round",
    "trunc", "sign", "mod", "div", "sqrt", "ln", "log", "width_bucket", "jsonb_typeof", "jsonb_array_length",
    "jsonb_extract_path", "jsonb_extract_path_text", "cardinality", "array_length", "num_nulls",
)  # fmt: skip
FUNCTIONS = frozenset((*AGGREGATES, *WINDOW_FUNCTIONS, *SET_FUNCTIONS, *SCALARS))
OPERATORS = frozenset({
    "+", "-", "*", "/", "%", "=", "<>", "!=", "<", ">", "<=", ">=", "~", "~*", "!~", "!~*", "~~", "~~*", "!~~", "!~~*",
    "->", "->>", "#>", "#>>", "@>", "<@", "?", "?|", "?&",
    "BETWEEN", "NOT BETWEEN", "BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC",
})  # fmt: skip
TYPES = frozenset({
    "text", "varchar", "bpchar", "int2", "int4", "int8", "numeric", "float4", "float8", "bool", "timestamptz",
    "timestamp", "date", "time", "interval", "jsonb", "json", "uuid",
})  # fmt: skip
VALUE_FUNCTIONS = frozenset(
    f"SVFOP_{name}" for name in ("CURRENT_DATE", "CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP_N", "LOCALTIMESTAMP")
)

NODES: Mapping[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "SelectStmt": "distinctClause targetList fromClause whereClause groupClause groupDistinct havingClause "
        "windowClause sortClause limitOffset limitCount limitOption valuesLists withClause op all larg rarg",
        "WithClause": "ctes",
        "CommonTableExpr": "ctename aliascolnames ctematerialized ctequery",
        "ResTarget": "name val",
        "ColumnRef": "fields",
        "A_Star": "",
        "A_Const": "ival fval boolval sval isnull",
        "A_Expr": "kind name lexpr rexpr",
        "BoolExpr": "boolop args",
        "NullTest": "arg nulltesttype argisrow",
        "BooleanTest": "arg booltesttype",
        "TypeCast": "arg typeName",
        "TypeName": "names typmods typemod arrayBounds",
        "FuncCall": "funcname args agg_order agg_filter over agg_within_group agg_star agg_distinct funcformat",
        "WindowDef": "name refname partitionClause orderClause frameOptions startOffset endOffset",
        "SortBy": "node sortby_dir sortby_nulls",
        "RangeVar": "relname inh relpersistence alias",
        "Alias": "aliasname colnames",
        "JoinExpr": "jointype isNatural larg rarg usingClause quals alias rtindex",
        "RangeSubselect": "lateral subquery alias",
        "RangeFunction": "lateral ordinality functions alias",
        "SubLink": "subLinkType testexpr operName subselect",
        "CaseExpr": "arg args defresult",
        "CaseWhen": "expr result",
        "CoalesceExpr": "args",
        "MinMaxExpr": "op args",
        "A_ArrayExpr": "elements list_start list_end",
        "RowExpr": "args row_format",
        "A_Indirection": "arg indirection",
        "A_Indices": "is_slice lidx uidx",
        "SQLValueFunction": "op typmod",
        "List": "items",
        "String": "sval",
        "Integer": "ival",
        "Float": "fval",
        "Boolean": "boolval",
    }.items()
}
"""Nodes of the parse tree with the fields each may have (``location`` besides)."""

INLINE: Mapping[tuple[str, str], str] = {
    ("SelectStmt", "withClause"): "WithClause",
    ("SelectStmt", "larg"): "SelectStmt",
    ("SelectStmt", "rarg"): "SelectStmt",
    ("TypeCast", "typeName"): "TypeName",
    ("FuncCall", "over"): "WindowDef",
    **{(parent, "alias"): "Alias" for parent in ("RangeVar", "JoinExpr", "RangeSubselect", "RangeFunction")},
    ("A_Const", "ival"): "Integer",
    ("A_Const", "fval"): "Float",
    ("A_Const", "boolval"): "Boolean",
    ("A_Const", "sval"): "String",
}
"""Fields whose value is a node without its name around it."""

WORDS: Mapping[str, str] = {
    "intoClause": "SELECT INTO",
    "lockingClause": "FOR UPDATE and FOR SHARE",
    "recursive": "WITH RECURSIVE",
    "search_clause": "SEARCH",
    "cycle_clause": "CYCLE",
    "schemaname": "a view with a schema before it",
    "catalogname": "a database before a name",
    "func_variadic": "VARIADIC",
    "coldeflist": "a list of column definitions",
    "is_rowsfrom": "ROWS FROM",
    "useOp": "ORDER BY USING",
    "setof": "SETOF",
    "pct_type": "%TYPE",
    "join_using_alias": "an alias of USING",
    "RangeTableSample": "TABLESAMPLE",
    "GroupingSet": "ROLLUP, CUBE and GROUPING SETS",
    "ParamRef": "a parameter ($1)",
    "CollateClause": "COLLATE",
    "XmlExpr": "XML",
    "XmlSerialize": "XML",
    "NamedArgExpr": "an argument by its name",
    "ObjectIdentifier": "a look-up in the catalog",
}
"""What a part of the tree that is not allowed is called by who writes SQL."""
