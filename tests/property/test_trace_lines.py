"""Trees of any shape: each span and log record is drawn once or counted; what matters stays within any budget."""

import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_tools import render
from mcp_tools.trace_lines import Drawing, Drawn
from mcp_tools.trace_shape import critical_path, self_times, shape_of
from storage.views import LogNode, SpanNode

MS = 1_000_000


def span(number: int, parent: int | None = None, **fields: object) -> SpanNode:
    """Return span ``number``, a child of span ``parent``."""
    defaults: dict[str, object] = {
        "id": number, "time_ns": number * MS, "duration_ns": 5_000, "component": "shop", "name": f"op {number}",
        "kind": "internal", "status": "unset", "status_message": "", "span_id": f"{number:016x}",
        "parent_span_id": None if parent is None else f"{parent:016x}",
    }  # fmt: skip
    return SpanNode(**(defaults | fields))  # type: ignore[arg-type]


def log(number: int, of_span: int | None, severity: int = 9, body: str | None = None) -> LogNode:
    """Return a log record of a span."""
    said = body if body is not None else f"log {number}"
    return LogNode(
        id=number, time_ns=number, component="shop", severity_number=severity, severity_text="", body=said,
        body_chars=len(said), span_id=None if of_span is None else f"{of_span:016x}",
    )  # fmt: skip


def stands_for(drawn: Drawn) -> tuple[int, int]:
    """Return how many spans and log records the lines stand for, and how many they say are left out."""
    shown = out = 0
    for line in drawn.lines:
        if (said := re.match(r" *\+(?:(\d+) spans in \d+ branches)?", line)) and "left out" in line:
            out += int(said[1] or 0)
        elif "·" not in line:
            shown += int(times[1]) if (times := re.search(r" ×(\d+) \(", line)) else 1
    return shown, out


@st.composite
def traces(draw: st.DrawFn) -> tuple[list[SpanNode], list[LogNode]]:
    """Return spans with parents that are missing, cyclic or twice the same id, and log records here and there."""
    count = draw(st.integers(1, 60))
    parents = [draw(st.none() | st.integers(0, count + 3)) for _ in range(count)]
    spans = [
        span(
            n,
            parents[n],
            span_id=f"{draw(st.sampled_from([n, n, n, 1])):016x}",
            name=draw(st.sampled_from(["SELECT", "GET /", "op"])),
            component=draw(st.sampled_from(["shop", "db"])),
            status=draw(st.sampled_from(["unset", "unset", "error"])),
            time_ns=draw(st.integers(0, 500)) * MS,
            duration_ns=draw(st.integers(0, 300)) * MS,
        )
        for n in range(count)
    ]
    logs = [
        log(n, draw(st.none() | st.integers(0, count + 3)), draw(st.sampled_from([9, 17])))
        for n in range(draw(st.integers(0, 30)))
    ]
    return spans, logs


@settings(deadline=None)
@given(traces(), st.booleans(), st.integers(1_000, 12_000))
def test_shown_and_left_out_add_up(trace: tuple[list[SpanNode], list[LogNode]], fold: bool, room: int) -> None:
    """Every span is drawn, folded, or counted out where it would stand; the lines keep to the room."""
    spans, logs = trace
    drawing = Drawing(shape_of(spans), logs, fold=fold)

    drawn = drawing.draw(room)

    shown, out = stands_for(drawn)
    assert shown + out == len(spans)
    assert out == drawn.spans_left_out
    assert drawn.logs_shown <= len(logs)
    assert sum(render.weight(line) for line in drawn.lines) <= room


@settings(deadline=None)
@given(traces())
def test_with_room_everything_is_drawn(trace: tuple[list[SpanNode], list[LogNode]]) -> None:
    """Unfolded and without a bound each span and each log record is one line."""
    spans, logs = trace

    drawn = Drawing(shape_of(spans), logs, fold=False).draw(10_000_000)

    assert len(drawn.lines) == len(spans) + len(logs)
    assert (drawn.spans_left_out, drawn.logs_shown) == (0, len(logs))


@settings(deadline=None)
@given(traces())
def test_the_critical_path_fills_the_root(trace: tuple[list[SpanNode], list[LogNode]]) -> None:
    """The self times of the path are the root's duration, without gap or overlap."""
    shape = shape_of(trace[0])

    for root in shape.roots:
        segments = critical_path(shape, root)

        assert sum(self_times(segments).values()) == shape.end[root] - shape.start[root]
        assert all(a.end == b.start for a, b in itertools.pairwise(segments))


@settings(deadline=None)
@given(traces(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(trace: tuple[list[SpanNode], list[LogNode]], random: object) -> None:
    """The same spans in another order draw the same tree."""
    spans = [s for i, s in enumerate(trace[0]) if s.span_id not in {o.span_id for o in trace[0][:i]}]
    mixed = list(spans)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    known = {s.span_id for s in spans}
    spans = [s for s in spans if s.parent_span_id not in known or s.parent_span_id < str(s.span_id)]
    mixed = [s for s in mixed if s in spans]

    first = Drawing(shape_of(spans), trace[1], fold=False).draw(100_000)

    assert sorted(Drawing(shape_of(mixed), trace[1], fold=False).draw(100_000).lines) == sorted(first.lines)


def test_a_trace_of_26_spans_in_any_order_keeps_its_root() -> None:
    """A root that arrives last is still the top, and no child of it looks like an orphan."""
    spans = [span(n, 99, name=f"step {n}") for n in range(25)] + [span(99, None, name="the root", duration_ns=90 * MS)]

    drawn = Drawing(shape_of(spans), [], fold=True).draw(2_000)

    assert "the root" in drawn.lines[0]
    assert not any("not stored" in line for line in drawn.lines)
    assert sum(stands_for(drawn)) == 26


def test_errors_and_root_stay_over_budget() -> None:
    """Of 2,000 spans the root and the failed one are shown, equal siblings are one line with their count."""
    spans = [span(1, None, name="root")] + [span(n, 1, name="SELECT") for n in range(2, 2000)]
    spans.append(span(2000, 1, name="charge", status="error", status_message="declined"))

    drawn = Drawing(shape_of(spans), [], fold=True).draw(700)

    assert "root" in drawn.lines[0]
    assert any("declined" in line for line in drawn.lines)
    assert any("SELECT ×1998" in line for line in drawn.lines)
    assert drawn.spans_left_out == 0


def test_the_way_to_an_error_is_kept() -> None:
    """Over the budget the spans above a failed one stay, though thousands of others come first."""
    chain = [span(n, n - 1 if n else None, name=f"step {n}") for n in range(5)]
    failed = span(9_999, 4, name="the culprit", status="error", status_message="out of stock")
    others = [span(100 + n, 0, name=f"fast {n}") for n in range(2_000)]

    drawn = Drawing(shape_of([*others, *chain, failed]), [], fold=False).draw(2_000)

    text = "\n".join(drawn.lines)
    assert all(f"step {n}" in text for n in range(5))
    assert "the culprit" in text
    assert sum(stands_for(drawn)) == 2_006


def test_a_wrong_clock_is_named_and_moved() -> None:
    """A server span that begins before its client is drawn within it and says by how much its clock is off."""
    client = span(1, None, name="POST", kind="client", time_ns=1_000 * MS, duration_ns=100 * MS)
    server = span(2, 1, name="handle", kind="server", component="pay", time_ns=650 * MS, duration_ns=80 * MS)
    inner = span(3, 2, name="SELECT", component="pay", time_ns=660 * MS, duration_ns=50 * MS)

    shape = shape_of([client, server, inner])

    assert shape.skew[1] == 360 * MS
    assert (shape.start[1], shape.start[2]) == (1_010 * MS, 1_020 * MS)
    assert "clock off by -360ms" in "\n".join(Drawing(shape, [], fold=True).draw(4_000).lines)


def test_a_server_that_outlives_its_client_is_no_skew() -> None:
    """A client that gave up after 100 ms says nothing about the clock of the server that went on."""
    client = span(1, None, kind="client", time_ns=0, duration_ns=100 * MS, status="error")
    server = span(2, 1, kind="server", component="pay", time_ns=5 * MS, duration_ns=900 * MS)

    assert shape_of([client, server]).skew == [0, 0]
