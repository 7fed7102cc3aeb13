"""Rendering: what is shown and what is left out add up; hostile text is disarmed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_tools import render
from mcp_tools.arguments import duration_ns, hex_id, severity, time_ns
from storage.views import LogEntry, SpanEntry, Trace


def span(number: int, parent: int | None, **fields: object) -> SpanEntry:
    """Return a span whose id is ``number``."""
    defaults: dict[str, object] = {
        "id": number, "time_ns": 1_700_000_000_000_000_000 + number, "end_ns": 0, "duration_ns": 5, "component": "c",
        "name": "n", "kind": "server", "status": "unset", "status_message": "", "trace_id": "0a" * 16,
        "span_id": f"{number:016x}", "parent_span_id": None if parent is None else f"{parent:016x}",
        "trace_state": "", "attributes": {}, "resource": {}, "scope_name": "",
    }  # fmt: skip
    return SpanEntry(**(defaults | fields))  # type: ignore[arg-type]


def log(number: int, span_id: int | None) -> LogEntry:
    """Return a log record within a span."""
    return LogEntry(
        id=number, time_ns=1_700_000_000_000_000_000, component="c", severity_number=9, severity_text="INFO",
        body="said", trace_id="0a" * 16, span_id=None if span_id is None else f"{span_id:016x}", event_name="",
        attributes={}, resource={}, scope_name="",
    )  # fmt: skip


parents = st.lists(st.one_of(st.none(), st.integers(1, 40)), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    parents=parents, logs=st.lists(st.one_of(st.none(), st.integers(1, 45)), max_size=30), tokens=st.integers(256, 2000)
)
def test_shown_and_left_out_add_up(parents: list[int | None], logs: list[int | None], tokens: int) -> None:
    """Any shape of parents (cycles, orphans, none): every span and log is drawn once or counted as left out."""
    trace = Trace(
        trace_id="0a" * 16,
        spans=[span(i + 1, parent) for i, parent in enumerate(parents)],
        logs=[log(i, where) for i, where in enumerate(logs)],
    )

    lines, spans_out, logs_out = render.trace_tree(trace, tokens)
    whole, none_out, no_logs_out = render.trace_tree(trace, 1_000_000)

    assert (none_out, no_logs_out) == (0, 0)
    assert len(whole) == len(parents) + len(logs)
    assert spans_out >= 0
    assert logs_out >= 0
    assert sum(map(len, lines)) <= tokens * render.CHARS_A_TOKEN
    assert len(lines) <= len(whole)


def test_errors_and_root_stay_over_budget() -> None:
    """Of 2,000 spans the root and the failed one are shown, like siblings are folded with their count."""
    spans = [span(1, None, name="root")] + [span(n, 1, name="SELECT") for n in range(2, 2000)]
    spans.append(span(2000, 1, name="charge", status="error", status_message="declined"))

    lines, spans_out, _ = render.trace_tree(Trace(trace_id="0a" * 16, spans=spans, logs=[]), 300)

    assert "root" in lines[0]
    assert any("declined" in line for line in lines)
    assert any("SELECT x1998" in line for line in lines)
    assert spans_out == 0


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
