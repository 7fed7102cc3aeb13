"""What rules of retention mean: pure, against a plain reading of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.periods import Range
from storage.retention.planning import Held, next_steps, steps
from storage.retention.rules import Rule, RuleError, Selector, keep_of, keep_words, selector_of, split

NOW = datetime(2026, 11, 27, tzinfo=UTC)
DAY = timedelta(days=1)
DAY_S = 86_400


def rule(keep: str, signal: str = "logs", **about: str) -> Rule:
    """Return a rule as people write it."""
    return Rule(selector=selector_of(signal, **about), keep_s=keep_of(keep))


EXAMPLE = [
    rule("30d"),
    rule("3d", severity_max="debug"),
    rule("90d", severity_min="error"),
    rule("7d", component="shop"),
]


def held(age_days: int, **fields: object) -> Held:
    """Return a partition of a day whose end is so many days ago."""
    until = NOW - age_days * DAY
    return Held(table="log_records", name=f"p{age_days}", bounds=Range(until - DAY, until), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("component", "severity", "days"),
    [
        ("pay", 9, 30),
        ("pay", 5, 3),
        ("pay", 8, 3),
        ("pay", 17, 90),
        ("pay", 24, 90),
        ("pay", 0, 30),  # no severity was given
        ("shop", 9, 7),
        ("shop", 5, 7),  # as many conditions: the longer one
        ("shop", 17, 90),
    ],
)
def test_the_most_conditions_decide_then_the_longest(component: str, severity: int, days: int) -> None:
    """The example of the documentation, record by record: kept until its day, gone after."""
    assert not split(EXAMPLE, "logs", days * DAY_S - 1).goes(component, severity)
    assert split(EXAMPLE, "logs", days * DAY_S).goes(component, severity)


def test_both_conditions_outweigh_one() -> None:
    """A component's errors may go earlier than errors do, when that is said of both."""
    rules = [*EXAMPLE, rule("14d", component="shop", severity_min="error")]

    assert split(rules, "logs", 14 * DAY_S).goes("shop", 17)
    assert not split(rules, "logs", 14 * DAY_S).goes("pay", 17)


def a_selector(component: str | None, least: int | None, span: int | None) -> Selector:
    """Return a selector; ``span``: how far its severities go past the least."""
    most = None if span is None else (least or 1) + span
    return Selector(signal="logs", component=component, severity_min=least, severity_max=most)


SELECTORS = st.builds(
    a_selector, st.sampled_from([None, "shop", "pay"]), st.none() | st.integers(1, 24), st.none() | st.integers(0, 10)
)
RULES = st.lists(
    st.builds(lambda s, k: Rule(selector=s, keep_s=k), SELECTORS, st.none() | st.integers(1, 5)),
    max_size=6,
    unique_by=lambda r: r.selector,
)


@given(rules=RULES, age=st.integers(0, 6), component=st.sampled_from(["shop", "pay", "x"]), severity=st.integers(0, 25))
def test_what_is_deleted_is_what_the_rules_say(rules: list[Rule], age: int, component: str, severity: int) -> None:
    """The pairs a deletion is made of say of every record what the rules themselves do."""
    at_age = split(rules, "logs", age)
    deleted = any(
        over.selector.matches(component, severity) and not any(k.selector.matches(component, severity) for k in against)
        for over, against in at_age.deciding()
    )

    assert deleted == at_age.goes(component, severity)
    if at_age.everything_goes:
        assert at_age.goes(component, severity)


def test_the_plan_of_the_example() -> None:
    """Young: nothing. Then DEBUG goes, then shop, then all but errors, then the partition."""
    found = {step.name: step.kind for step in steps([held(n) for n in (0, 2, 3, 7, 30, 89, 90)], EXAMPLE, NOW)}

    assert found == {"p3": "delete", "p7": "delete", "p30": "delete", "p89": "delete", "p90": "drop"}


def test_what_was_carried_out_is_no_step() -> None:
    """Zero steps when all is as it should be; an emptied partition goes early, unless its rule keeps it still."""
    done = split(EXAMPLE, "logs", 30 * DAY_S).digest()

    assert steps([held(30, done=done), held(2)], EXAMPLE, NOW) == []
    assert [s.kind for s in steps([held(30, done=done, empty=True)], EXAMPLE, NOW)] == ["drop"]
    assert steps([held(3, done=split(EXAMPLE, "logs", 3 * DAY_S).digest(), empty=True)], EXAMPLE, NOW) == []


def test_what_arrived_late_is_kept_as_long() -> None:
    """The day is a year ago, its partition was made yesterday: its age counts from then."""
    late = held(365, made_at=NOW - DAY)

    assert steps([late], EXAMPLE, NOW) == []
    assert [s.kind for s in steps([late], EXAMPLE, NOW + 89 * DAY)] == ["drop"]


def test_what_was_cut_off_is_ended() -> None:
    """A detach that was begun, and a partition that was detached and not dropped, whatever the rules say by now."""
    found = steps([held(90, state="detaching"), held(91, state="expired")], [], NOW)

    assert [(s.name, s.kind) for s in found] == [("p91", "drop detached"), ("p90", "finalize")]


def test_without_a_rule_nothing_goes() -> None:
    """No rule, a rule of another signal, or one that keeps for ever."""
    old = [held(3_000), held(3_000, empty=True)]

    for rules in ([], [rule("1h", "spans")], [rule("forever")]):
        assert steps(old, rules, NOW) == []
    some = steps(old, [rule("1d", severity_max="debug")], NOW)
    assert [s.kind for s in some] == ["delete"]


def test_what_upkeep_makes_is_not_dropped() -> None:
    """An hour is kept: of yesterday, which is ready for late records, the rows go, and the partition a day later."""
    rules = [rule("1h")]

    assert [s.kind for s in steps([held(0)], rules, NOW + DAY)] == ["delete"]
    done = split(rules, "logs", DAY_S).digest()
    assert steps([held(0, done=done)], rules, NOW + DAY) == []
    assert steps([held(0, empty=True)], rules, NOW + DAY) == []
    assert [s.kind for s in steps([held(0, empty=True)], rules, NOW + 2 * DAY)] == ["drop"]


def test_what_goes_next_is_told() -> None:
    """Of each rule the next partition whose time will be over."""
    found = next_steps([held(1), held(2), held(60)], EXAMPLE, NOW)

    assert [(when, name) for when, _, name, _ in found] == [
        (NOW + DAY, "p2"),
        (NOW + 5 * DAY, "p2"),
        (NOW + 28 * DAY, "p2"),
        (NOW + 30 * DAY, "p60"),
    ]


@pytest.mark.parametrize("text", ["12h", "30d", "13w", "forever", "3650d"])
def test_keeping_is_told_as_it_is_read(text: str) -> None:
    """What is shown can be typed."""
    assert keep_of(keep_words(keep_of(text))) == keep_of(text)


@pytest.mark.parametrize("text", ["", "30", "30m", "0d", "3651d", "-1d", "1.5d", "x", "9999999d"])
def test_what_is_no_time_to_keep(text: str) -> None:
    """The sentence says what would be."""
    with pytest.raises(RuleError, match="forever"):
        keep_of(text)


@pytest.mark.parametrize(
    "about",
    [
        {"signal": "log"},
        {"signal": "spans", "component": "shop"},
        {"signal": "logs", "severity_min": "loud"},
        {"signal": "logs", "severity_min": "25"},
        {"signal": "logs", "severity_min": "error", "severity_max": "debug"},
        {"signal": "logs", "component": ""},
    ],
)
def test_what_is_no_rule(about: dict[str, str]) -> None:
    """Nothing is guessed."""
    with pytest.raises(RuleError):
        selector_of(**about)


def test_words() -> None:
    """A rule as it is read aloud."""
    assert [r.selector.words() for r in EXAMPLE] == [
        "logs",
        "logs, severity DEBUG and below",
        "logs, severity ERROR and above",
        "logs of shop",
    ]
