"""Rendering and reading of arguments: hostile text is disarmed."""

from hypothesis import given
from hypothesis import strategies as st

from mcp_tools import render
from mcp_tools.arguments import duration_ns, hex_id, severity, time_ns


@given(st.text(max_size=100))
def test_clean_is_one_printable_line(text: str) -> None:
    """No control, bidi or invisible character gets through, and no fence."""
    shown = render.clean(text)

    assert "\n" not in shown
    assert "---" not in shown
    assert shown.isprintable()


def test_arguments_are_read_as_people_write_them() -> None:
    """Relative, RFC 3339 and epoch times; durations; severities; ids."""
    now = 1_800_000_000_000_000_000
    assert time_ns("15m", "since", now) == time_ns("now-15m", "since", now) == now - 900 * 10**9
    assert time_ns("1700000000", "since", now) == time_ns("1700000000000", "since", now) == 1_700_000_000 * 10**9
    assert time_ns("2023-11-14T22:13:20Z", "since", now) == 1_700_000_000 * 10**9
    assert duration_ns("1.5s", "x") == 1_500_000_000
    assert severity("WARNING") == severity("13") == 13
    assert hex_id("5B8EFFF7-9803-8103-D269-B633813FC60C", "trace_id", 32) == "5b8efff798038103d269b633813fc60c"
