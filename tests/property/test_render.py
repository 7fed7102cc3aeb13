"""Rendering: what a record says cannot leave its fence, and what was left out adds up."""

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_tools import render
from storage.views import LogEntry, SpanEntry, Trace

TRACE_ID = "0a" * 16
INVISIBLE = {"\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", *map(chr, range(0xFE00, 0xFE10))}


def span(number: int, parent: int | None = None, **fields: object) -> SpanEntry:
    """Return span ``number``, a child of span ``parent``."""
    defaults = {
        "id": number, "time_ns": number * 1_000_000, "end_ns": number * 1_000_000 + 5_000, "duration_ns": 5_000,
        "component": "shop", "name": f"op {number}", "kind": "internal", "status": "unset", "status_message": "",
        "trace_id": TRACE_ID, "span_id": f"{number:016x}",
        "parent_span_id": None if parent is None else f"{parent:016x}", "trace_state": "", "attributes": {},
        "resource": {}, "scope_name": "",
    }  # fmt: skip
    return SpanEntry(**(defaults | fields))  # type: ignore[arg-type]


def log(number: int, of_span: int | None, severity: int = 9) -> LogEntry:
    """Return a log record of a span."""
    return LogEntry(
        id=number, time_ns=number, component="shop", severity_number=severity, severity_text="", body=f"log {number}",
        trace_id=TRACE_ID, span_id=None if of_span is None else f"{of_span:016x}", event_name="", attributes={},
        resource={}, scope_name="",
    )  # fmt: skip


@given(st.text(max_size=600) | st.text("-\u202e\x1b\u200b\ufe0f\U000e0100 end of records", max_size=80))
def test_cleaned_text_is_one_visible_line(text: str) -> None:
    """No control, format, private or filler character stays, no fence can be forged, and a cut is marked."""
    shown = render.clean(text)

    assert not {c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}}
    assert not set(shown) & INVISIBLE
    assert not any(0xE0100 <= ord(c) <= 0xE01EF for c in shown)
    assert "---" not in shown
    if len(text) > render.FIELD_CHARS_MAX:
        assert shown.endswith(f"…+{len(text) - render.FIELD_CHARS_MAX}")


def test_characters_past_the_first_plane_are_told_apart() -> None:
    """An escape names its character without doubt."""
    assert render.clean("\ue004" + "1") != render.clean("\U000e0041")


@settings(deadline=None)
@given(st.data(), st.integers(256, 3_000))
def test_shown_and_left_out_add_up(data: st.DataObject, max_tokens: int) -> None:
    """For any parents (missing, cyclic, twice the same id) every span and log is shown, folded or counted out."""
    count = data.draw(st.integers(1, 60))
    parents = [data.draw(st.none() | st.integers(0, count + 3)) for _ in range(count)]
    names = [data.draw(st.sampled_from(["SELECT", "GET /", "op"])) for _ in range(count)]
    logs = [log(n, data.draw(st.none() | st.integers(0, count + 3))) for n in range(data.draw(st.integers(0, 30)))]
    spans = [span(n, parents[n], name=names[n]) for n in range(count)]

    lines, spans_out, logs_out = render.trace_tree(Trace(trace_id=TRACE_ID, spans=spans, logs=logs), max_tokens)

    folded = sum(int(line.rsplit(" x", 1)[1].split(" ")[0]) for line in lines if "in all" in line)
    own = sum("[" in line and "in all" not in line for line in lines)
    assert own + folded + spans_out == count
    assert sum("·" in line for line in lines) + logs_out == len(logs)
    assert sum(len(line) + 1 for line in lines) <= max_tokens * render.CHARS_A_TOKEN


def test_the_way_to_an_error_is_kept() -> None:
    """Over the budget the spans above a failed one stay, though thousands of others come first."""
    chain = [span(n, n - 1 if n else None, name=f"step {n}") for n in range(5)]
    failed = span(9_999, 4, name="the culprit", status="error", status_message="out of stock")
    others = [span(100 + n, 0, name=f"fast {n}") for n in range(2_000)]
    trace = Trace(trace_id=TRACE_ID, spans=[*others, *chain, failed], logs=[])

    lines, spans_out, _ = render.trace_tree(trace, 512)

    text = "\n".join(lines)
    assert all(f"step {n}" in text for n in range(5))
    assert "the culprit" in text
    assert len(lines) + spans_out == len(trace.spans)
