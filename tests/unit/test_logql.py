"""LogQL: what is understood, and in which words the rest is refused."""

import pytest

from mcp_tools.loki.labels import question
from mcp_tools.loki.reading import LogQLError, parse
from mcp_tools.loki.series import Points, bins_of, counted_series, evaluate
from mcp_tools.loki.tree import Aggregated, Constant, Counted, LineFilter, Lines, Matcher, Query
from storage.query.regex import RegexError, to_postgresql
from storage.query.tree import Between, Exists, Field, Is, Not, Or
from storage.views import LineCount

SHOP = Lines((Matcher("component", "=", "shop"),))
MINUTE = 60_000_000_000


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ('{component="shop"}', SHOP),
        ('{component="shop",}  # all of it', SHOP),
        (
            '{component="x", level=~"warn|error"} |= "text" != "no" |~ `re\\d` !~ "a" or "b"',
            Lines(
                (Matcher("component", "=", "x"), Matcher("level", "=~", "warn|error")),
                (
                    LineFilter("|=", ("text",)),
                    LineFilter("!=", ("no",)),
                    LineFilter("|~", ("re\\d",)),
                    LineFilter("!~", ("a", "b")),
                ),
            ),
        ),
        (
            '{component="shop"} | drop __error__, x | level!="info"',
            Lines((Matcher("component", "=", "shop"), Matcher("level", "!=", "info"))),
        ),
        (r'{component="a\"b\x41\n"}', Lines((Matcher("component", "=", 'a"bA\n'),))),
        ('count_over_time({component="shop"}[5m])', Counted("count_over_time", SHOP, 5 * MINUTE)),
        (
            'rate({component="shop"} |= "x" [1h30m])',
            Counted("rate", Lines(SHOP.matchers, (LineFilter("|=", ("x",)),)), 90 * MINUTE),
        ),
        (
            'sum by (level, component) (count_over_time({component="shop"}[5m]))',
            Aggregated("sum", Counted("count_over_time", SHOP, 5 * MINUTE), ("level", "component")),
        ),
        (
            'topk(3, sum(rate({component="shop"}[1m])) without (level))',
            Aggregated("topk", Aggregated("sum", Counted("rate", SHOP, MINUTE), ("level",), without=True), k=3),
        ),
        ("vector(1)+vector(1)", Constant(2.0)),
    ],
)
def test_what_is_understood(text: str, query: Query) -> None:
    """Selectors, filters, counts and their sums."""
    assert parse(text) == query


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{component="x"', "parse error at line 1, col 15: syntax error: unexpected end of query, expecting , or }"),
        ("", "unexpected end of query"),
        ("{}", "at least one regexp or equality matcher"),
        ('{component=~".*"}', "at least one regexp or equality matcher"),
        ('{component!="x"}', "at least one regexp or equality matcher"),
        ('{component=~"["}', "error parsing regexp: missing ]: ["),
        ('{component="x"} |~ "(?=a)"', "error parsing regexp"),
        ('{component="x"} |~ "\\\\pL"', "\\p is not supported"),
        ('{component="x"} | json', 'stage "| json" is not supported'),
        ('{component="x"} | line_format "{{.x}}"', 'stage "| line_format" is not supported'),
        ('{component="x"}[5m]', "unexpected RANGE"),
        ('quantile_over_time({component="x"}[5m])', "quantile_over_time() is not supported"),
        ('rate({component="x"}[soon])', "not a valid duration string"),
        ('rate({component="x"}[0s])', "more than nothing"),
        ('sum(rate({component="x"}[5m])) > 5', "unexpected '>'"),
        ('rate({component="x"}[5m]) + vector(1)', "binary operations"),
        ("{component='x'}", 'unexpected "\'"'),
        ('{component="\\q"}', "invalid char escape"),
        ("sum(" * 40 + 'rate({component="x"}[5m])' + ")" * 40, "16 deep"),
        ('{component="x"}' + ' |= "a"' * 40, "32 matchers and filters"),
        ("{" * 6_000, "exceeds the limit"),
        ('{component="\0"}', "no line holds"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    """In one sentence, as Loki words it where it has one."""
    with pytest.raises(LogQLError) as caught:
        parse(text)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def asked(text: str) -> object:
    """Return what the store is asked for a log query, where it knows the components pay and shop."""
    lines = parse(text)
    assert isinstance(lines, Lines)
    found = question(lines, ["pay", "shop"])
    return found[0] if found else None


def test_matchers_become_equalities() -> None:
    """Regular expressions of labels are decided here, fully anchored; what nothing can match is not asked."""
    assert asked('{component=~"sh.*"}') == Field("component", Is("shop"))
    assert asked('{service_name="pay"}') == Field("component", Is("pay"))
    assert asked('{component=~"ho"}') is None
    assert asked('{component=~".+", level=~"warn|error"}') == Or(
        (Field("level", Between(13, 16)), Field("level", Between(17, 20)))
    )
    assert asked('{detected_level="unknown"}') == Not(Field("level", Exists()))
    assert asked('{component=~".+", pod="x"}') is None
    assert asked('{component="shop", pod!="x"}') == Field("component", Is("shop"))
    assert asked('{component="pay"} | trace_id=""') != asked('{component="pay"}')


def test_a_window_holds_its_end_and_not_its_start() -> None:
    """Bins of the greatest common width; no sample where nothing was counted."""
    counted = Counted("count_over_time", SHOP, 90_000_000_000)
    at = Points(1_000 * MINUTE, 1_003 * MINUTE, MINUTE)
    bins = bins_of(counted, at)
    assert bins.width_ns == 30_000_000_000
    assert bins.origin_ns == at.start_ns - counted.range_ns
    one = [LineCount(component="shop", severity_number=9, bin=2, count=7)]  # (start - 30 s, start]

    (values,) = counted_series(counted, at, bins, one).values()

    assert values == {0: 7.0, 1: 7.0}


def test_series_are_put_together_by_labels() -> None:
    """By, without, and the largest."""
    a, b = (tuple(sorted({"component": c, "level": "info"}.items())) for c in ("a", "b"))
    at = Points(0, 1, 1)
    inner = Counted("rate", SHOP, 1)

    def of(**how: object) -> object:
        return evaluate(Aggregated(inner=inner, **how), at, lambda _: {a: {0: 1.0, 1: 5.0}, b: {0: 2.0}})  # type: ignore[arg-type]

    assert of(function="sum") == {(): {0: 3.0, 1: 5.0}}
    assert of(function="max", labels=("level",)) == {(("level", "info"),): {0: 2.0, 1: 5.0}}
    assert of(function="avg", labels=("component",), without=True) == {(("level", "info"),): {0: 1.5, 1: 5.0}}
    assert of(function="count") == {(): {0: 2.0, 1: 1.0}}
    assert of(function="topk", k=1) == {b: {0: 2.0}, a: {1: 5.0}}
    assert of(function="bottomk", k=1) == {a: {0: 1.0, 1: 5.0}}


@pytest.mark.parametrize(
    ("pattern", "translated"),
    [
        ("a.b", r"(?s)a[^\n]b"),
        ("(?i)a", "(?si)a"),
        ("(?s)a.b", "(?s)a.b"),
        ("(?m)^a", "(?w)^a"),
        (r"\bx\B\z", r"(?s)\yx\Y\Z"),
        (r"\x41[\x{1F600}.\]]", r"(?s)\U00000041[\U0001f600.\]]"),
        ("(?P<n>a)(?:b)[].]", "(?s)(a)(?:b)[].]"),
    ],
)
def test_regular_expressions_of_go(pattern: str, translated: str) -> None:
    """As PostgreSQL writes them."""
    assert to_postgresql(pattern) == translated


@pytest.mark.parametrize("pattern", ["a(?i)b", r"\Qa\E", "a{300}", r"\pL", "(", "x" * 1_001])
def test_regular_expressions_that_are_refused(pattern: str) -> None:
    """Rather than read otherwise."""
    with pytest.raises(RegexError):
        to_postgresql(pattern)
