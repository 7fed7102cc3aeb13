"""What people write as times, durations, severities and ids; what is wrong is said, never a crash."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tools import arguments as read
from mcp_tools.errors import UserInputError, argument_meant

NOW = 1_800_000_000 * read.NS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("15m", NOW - 900 * read.NS),
        ("now-1h", NOW - 3_600 * read.NS),
        ("2 h ago", NOW - 7_200 * read.NS),
        ("1760000000", 1_760_000_000 * read.NS),
        ("1760000000123", 1_760_000_000_123_000_000),
        ("1760000000123456789", 1_760_000_000_123_456_789),
        ("1760000000.5", 1_760_000_000_500_000_000),
        ("2026-11-24T10:00:00Z", 1_795_514_400 * read.NS),
        ("2026-11-24T11:00:00.000001+01:00", 1_795_514_400 * read.NS + 1_000),
        ("2026-11-24", 1_795_478_400 * read.NS),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_times(text: str, expected: int) -> None:
    """Relative, epoch in every unit, and RFC 3339 with any offset, to the last digit."""
    assert read.time_ns(text, "since", NOW) == expected


@pytest.mark.parametrize(
    ("reader", "text", "code"),
    [
        (lambda v: read.time_ns(v, "since", NOW), "9" * 400, "INVALID_TIME"),
        (lambda v: read.time_ns(v, "since", NOW), "9" * 400 + "d", "INVALID_TIME"),
        (lambda v: read.time_ns(v, "since", NOW), "99999999w", "INVALID_DURATION"),
        (lambda v: read.time_ns(v, "since", NOW), "\u0663m", "INVALID_TIME"),
        (lambda v: read.duration_ns(v, "min_duration"), "9" * 400 + "s", "INVALID_DURATION"),
        (lambda v: read.duration_ns(v, "min_duration"), "-1s", "INVALID_DURATION"),
        (read.severity, "\u00b2", "INVALID_SEVERITY"),
        (read.severity, "9" * 5_000, "INVALID_SEVERITY"),
        (read.severity, "25", "INVALID_SEVERITY"),
        (lambda v: read.hex_id(v, "trace_id", 32), "\u0663" * 32, "INVALID_ID"),
    ],
)
def test_what_is_wrong_is_said(reader: Callable[[str], Any], text: str, code: str) -> None:
    """A number without end or in other digits is refused with its code."""
    with pytest.raises(UserInputError) as caught:
        reader(text)

    assert caught.value.code == code
    assert len(str(caught.value)) < 300


@given(st.text(max_size=60) | st.from_regex(r"(now)?-?[0-9]{0,40}(\.[0-9]{0,20})?(ns|us|ms|s|m|h|d|w)?( ago)?"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text whatever raises anything but UserInputError, and what is read fits 64 bits or PostgreSQL's clamp."""
    for reader in (
        lambda: read.time_ns(text, "since", NOW),
        lambda: read.duration_ns(text, "max_duration"),
        lambda: read.severity(text),
        lambda: read.hex_id(text, "span_id", 16),
    ):
        try:
            value = reader()
        except UserInputError:
            continue
        assert isinstance(value, str) or abs(value) < 10**20


@pytest.mark.parametrize(
    ("written", "short"),
    [("10 minutes", "10m"), ("10min", "10m"), ("last 2 hours", "2h"), ("1 day ago", "1d"), ("90 secs", "90s"),
     ("past 3 weeks", "3w"), ("now - 5 mins", "5m")],
)  # fmt: skip
def test_units_in_words(written: str, short: str) -> None:
    """As people and agents write them."""
    assert read.time_ns(written, "since", 10**18) == read.time_ns(short, "since", 10**18)


@pytest.mark.parametrize("text", ["10 moons", "last hour", "10 n", "15x", "5 s s"])
def test_what_is_no_time_stays_none(text: str) -> None:
    """No unit, no time."""
    with pytest.raises(UserInputError, match="INVALID_TIME"):
        read.time_ns(text, "since", 10**18)


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [("service", ["since", "component"], "component"), ("level", ["limit", "severity_min"], "severity_min"),
     ("traceId", ["trace_id"], "trace_id"), ("serverity_min", ["severity_min"], "severity_min"),
     ("Start-Time", ["since"], "since")],
)  # fmt: skip
def test_arguments_of_other_servers_are_understood(word: str, known: list[str], meant: str) -> None:
    """By what they mean, before how they are spelt."""
    assert argument_meant(word, known) == f' Did you mean "{meant}"?'
