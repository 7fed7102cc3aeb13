"""The query language, query by query: what it means, and what the errors say."""

import pytest
from sqlalchemy.dialects import postgresql

from storage.filters import LogQuery, log_conditions
from storage.models import log_records
from storage.query.conditions import conditions
from storage.query.errors import QueryError
from storage.query.fields import Signal
from storage.query.reading import parse
from storage.query.tree import (
    EVERYTHING,
    And,
    Attribute,
    Between,
    Exists,
    Field,
    Is,
    Like,
    Node,
    Not,
    Or,
    Text,
)


def test_the_query_of_the_readme() -> None:
    """All that a line can hold, in one."""
    text = (
        'component:shop level:>=warn "timed out" -health @http.route:/pay @http.status_code:>=500 '
        "trace:4bf9* (a OR b) NOT c"
    )

    assert parse(text) == And(
        (
            Field("component", Is("shop")),
            Field("level", Between(13, None)),
            Text(("timed out",)),
            Not(Text(("health",))),
            Attribute("http.route", Is("/pay")),
            Attribute("http.status_code", Between(500, None)),
            Field("trace", Like(("4bf9", ""))),
            Or((Text(("a",)), Text(("b",)))),
            Not(Text(("c",))),
        )
    )


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("", EVERYTHING),
        ("  ", EVERYTHING),
        ("*", EVERYTHING),
        ("service:shop", Field("component", Is("shop"))),
        ("status:error", Field("level", Between(17, 20))),
        ("level:WARNING", Field("level", Between(13, 16))),
        ("level:<warn", Field("level", Between(1, 12))),
        ("level:>warn", Field("level", Between(17, None))),
        ("level:[info TO warn]", Field("level", Between(9, 16))),
        ("level:unset", Not(Field("level", Exists()))),
        ("component:(a OR b)", Or((Field("component", Is("a")), Field("component", Is("b"))))),
        ("component:pay*", Field("component", Like(("pay", "")))),
        (r"component:pay\*", Field("component", Is("pay*"))),
        ('component:"pay*"', Field("component", Is("pay*"))),
        ("http.route:/users/{id}", Attribute("http.route", Is("/users/{id}"))),
        ('@"weird key":x', Attribute("weird key", Is("x"))),
        ("resource.host.name:h1", Attribute("host.name", Is("h1"), "resource")),
        ("@n:500", Attribute("n", Is("500", loose=True))),
        ('@n:"500"', Attribute("n", Is("500"))),
        ("@n:[1 TO 5}", Attribute("n", Between(1, 5, high_included=False))),
        ("@n:[* TO 5]", Attribute("n", Between(None, 5))),
        ("@n:-1.5", Attribute("n", Is("-1.5", loose=True))),
        ("@url:http://x:80/?q=1", Attribute("url", Is("http://x:80/?q=1"))),
        ("@k:*", Attribute("k", Exists())),
        ("time*out", Text(("time", "out"))),
        ("*timeout*", Text(("timeout",))),
        ("a b OR c", Or((And((Text(("a",)), Text(("b",)))), Text(("c",))))),
        ("a AND NOT NOT b", And((Text(("a",)), Text(("b",))))),
        ("or and", And((Text(("or",)), Text(("and",))))),
        ("trace:4BF92F35-77b3-4da6-a3ce-929d0e0e4736", Field("trace", Is("4bf92f3577b34da6a3ce929d0e0e4736"))),
    ],
)
def test_logs(text: str, node: Node) -> None:
    """What a query of log records means."""
    assert parse(text) == node


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("duration:>100ms", Field("duration", Between(100_000_000, None, low_included=False))),
        ("duration:[1.5ms TO 2s]", Field("duration", Between(1_500_000, 2_000_000_000))),
        ("status:unset", Not(Field("status", Exists()))),
        ("kind:Server", Field("kind", Is("server"))),
        ('operation:"GET /"', Field("name", Is("GET /"))),
        ("parent:*", Field("parent", Exists())),
    ],
)
def test_spans(text: str, node: Node) -> None:
    """What a query of spans means."""
    assert parse(text, "spans") == node


@pytest.mark.parametrize(
    ("text", "signal", "said", "column"),
    [
        ("compnent:shop", "logs", 'did you mean "component"', 1),
        ("a duration:>5ms", "logs", "spans have it", 3),
        ("level:error", "spans", "log records have it", 1),
        ("x http://shop", "logs", "text with a colon goes in quotes", 3),
        ("level:loud", "logs", "a level is one of trace, debug", 7),
        ("level:<trace", "logs", "no level is in this interval", 8),
        ("trace:xyz", "logs", "32 hexadecimal digits", 7),
        ("@x:>abc", "logs", "compared with numbers", 5),
        ("duration:>5", "spans", "a number with its unit", 11),
        ("component:>5", "logs", "cannot be compared", 12),
        ("component:(a b)", "logs", "separated by OR", 14),
        ("component:", "logs", "a value belongs after the colon", 11),
        ("@x:[1 5]", "logs", "TO is missing", 7),
        ("@x:[1 TO 5", "logs", "not closed", 11),
        ("(a", "logs", "the ( is not closed", 3),
        ("a)", "logs", "there is no ( for this )", 2),
        ('a "b', "logs", "is not closed", 3),
        ("OR b", "logs", "OR stands between two terms", 1),
        ("a AND", "logs", "the query ends where a term belongs", 6),
        ("a\0b", "logs", "U+0000", 2),
        ("x" * 2001, "logs", "2,000 characters", 2001),
        ("x " * 65, "logs", "64 terms", 130),
    ],
)
def test_errors_say_where_and_what(text: str, signal: Signal, said: str, column: int) -> None:
    """Each error names its column and what would be right."""
    with pytest.raises(QueryError) as caught:
        parse(text, signal)

    assert said in caught.value.message
    assert caught.value.position + 1 == column


def test_carets_stand_below_what_is_wrong() -> None:
    """Also where characters are two columns wide, and in a long query."""
    with pytest.raises(QueryError) as caught:
        parse("日本 compnent:shop")
    _, shown, carets = str(caught.value).split("\n")

    assert shown == "  日本 compnent:shop"
    assert carets == "  " + " " * 5 + "^" * 8


def test_values_never_reach_the_text_of_sql() -> None:
    """Whatever a query holds is bound."""
    hostile = "'; DROP TABLE log_records; --"
    node = parse(
        f'"{hostile}" component:"{hostile}" @"{hostile}":"{hostile}" @"{hostile}":>5 @"{hostile}":* event:x*\\\'y'
    )

    for condition in conditions(node, log_records):
        assert "DROP" not in str(condition.compile(dialect=postgresql.dialect()))


def test_a_query_is_part_of_the_question() -> None:
    """A cursor of one query is not taken by another; the conditions of a query join the others."""
    one, other = (LogQuery(query=parse(text)) for text in ("a", "b"))

    assert one.canonical() != other.canonical()
    assert one.canonical() == LogQuery(query=parse(" (a) ")).canonical()
    assert len(log_conditions(LogQuery(component="shop", query=parse("a b")))) == 3
