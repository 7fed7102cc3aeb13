"""Reading back what was stored: filters, pages, traces, tokens."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import tokens
from storage.columns import SPANS
from storage.cursor import InvalidCursor
from storage.filters import LogQuery, TraceQuery
from storage.reader import Reader
from storage.rows import SpanRow
from storage.sink import PostgresSink
from tests.factories import RESOURCE, SCOPE, batch_of, log_row, now_us

TRACE = b"\x0a" * 16


def span_row(**fields: object) -> SpanRow:
    """Return a span row of trace 0a0a…, 5 ms, now."""
    at = int(fields.pop("time", now_us()))  # type: ignore[call-overload]
    row = SpanRow(
        at, at * 1000, at * 1000 + 5_000_000, 5_000_000, RESOURCE.id, SCOPE.id, 2, 0, 0, 0, 0, "shop",
        "GET /", "", "", b"{}", TRACE, 1, None, 0, None, None, None,
    )  # fmt: skip
    return row._replace(**fields)


async def test_filters_find_what_they_name(engine: AsyncEngine) -> None:
    """Each filter alone finds its record and no other."""
    rows = [
        log_row(
            body="needle 100%_",
            severity_number=17,
            attributes=b'{"user.id":7,"ratio":1.0}',
            span_id=9,
        ),
        log_row(body="hay", component="other", trace_id=TRACE),
    ]
    await PostgresSink(engine).write([batch_of(rows)])
    reader = Reader(engine)

    for query, body in (
        (LogQuery(component="other"), "hay"),
        (LogQuery(trace_id=TRACE.hex()), "hay"),
        (LogQuery(severity_min=17), "needle 100%_"),
        (LogQuery(text="NEEDLE 100%_"), "needle 100%_"),
        (LogQuery(attributes={"user.id": 7}), "needle 100%_"),
        (LogQuery(span_id="0000000000000009"), "needle 100%_"),
    ):
        page = await reader.find_logs(query)
        assert [entry.body for entry in page.items] == [body], query
        assert page.matched == 1
    assert (await reader.find_logs(LogQuery(text="%"))).matched == 1
    assert (await reader.find_logs(LogQuery(text="' OR 1=1 --"))).matched == 0
    assert (await reader.find_logs(LogQuery(attributes={"service.name": "shop"}))).matched == 2


async def test_a_trace_comes_back_whole(engine: AsyncEngine) -> None:
    """Spans and logs of one trace, in order; another trace's stay away; its summary counts."""
    at = now_us()
    sink = PostgresSink(engine)
    spans = [
        span_row(time=at, span_id=1),
        span_row(
            time=at + 10,
            span_id=2,
            parent_span_id=1,
            name="SELECT",
            status_code=2,
            status_message="boom",
        ),
        span_row(time=at, trace_id=b"\x0b" * 16),
    ]
    await sink.write([batch_of(spans, SPANS)])
    await sink.write([batch_of([log_row(time=at + 5, trace_id=TRACE, span_id=1)])])
    reader = Reader(engine)

    trace = await reader.trace_outline(TRACE.hex())
    found = await reader.find_traces(TraceQuery(status="error"))

    assert trace is not None
    assert [s.name for s in trace.spans] == ["GET /", "SELECT"]
    assert trace.spans[1].parent_span_id == trace.spans[0].span_id == "0000000000000001"
    assert len(trace.logs) == 1
    assert await reader.trace_outline("ff" * 16) is None
    assert [(t.trace_id, t.root_name, t.span_count, t.error_count, t.first_error) for t in found.items] == [
        (TRACE.hex(), "GET /", 2, 1, "boom")
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offsets=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    limit=st.integers(1, 7),
    newest=st.booleans(),
)
async def test_a_cursor_walk_equals_the_full_scan(
    engine: AsyncEngine,
    offsets: list[int],
    limit: int,
    newest: bool,
) -> None:
    """Many equal times, any page size, either order, newer records arriving: nothing skipped, nothing twice."""
    component = f"walk-{now_us()}"
    base = now_us() - 60_000_000
    sink, reader = PostgresSink(engine), Reader(engine)
    await sink.write([batch_of([log_row(time=base + o, component=component) for o in offsets])])
    order = "newest" if newest else "oldest"
    until = (base + 10) * 1000
    whole = await reader.find_logs(LogQuery(component=component, until_ns=until, order=order, limit=1000))

    walked, cursor = [], None
    while True:
        page = await reader.find_logs(
            LogQuery(component=component, until_ns=until, order=order, limit=limit, cursor=cursor)
        )
        walked += [entry.id for entry in page.items]
        assert page.matched == len(offsets)
        await sink.write([batch_of([log_row(component=component)])])
        if (cursor := page.next_cursor) is None:
            break

    assert walked == [entry.id for entry in whole.items]
    assert len(walked) == len(offsets)


async def test_a_cursor_is_for_its_question(engine: AsyncEngine) -> None:
    """Other filters or a changed character: refused with a sentence."""
    await PostgresSink(engine).write([batch_of([log_row(), log_row()])])
    reader = Reader(engine)
    cursor = (await reader.find_logs(LogQuery(limit=1))).next_cursor
    assert cursor is not None

    with pytest.raises(InvalidCursor, match="other filters"):
        await reader.find_logs(LogQuery(component="x", cursor=cursor))
    with pytest.raises(InvalidCursor, match="damaged"):
        await reader.find_logs(LogQuery(cursor=cursor[:-30] + "A" + cursor[-29:]))


async def test_counts_and_overview(engine: AsyncEngine) -> None:
    """Counts by severity and minute are exact; the overview names components and their errors."""
    rows = [log_row(severity_number=n) for n in (9, 9, 17)]
    await PostgresSink(engine).write([batch_of(rows)])
    reader = Reader(engine)

    counts = await reader.log_counts(LogQuery(component="shop"), ["severity"], 60)
    by_both = await reader.log_counts(LogQuery(), ["component", "severity"])
    stats = await reader.component_stats(0, (now_us() + 10**9) * 1000)

    assert {(c.group["component"], c.group["severity"]) for c in by_both} == {("shop", "INFO"), ("shop", "ERROR")}
    assert {c.group["severity"]: c.count for c in counts} == {"INFO": 2, "ERROR": 1}
    assert json.dumps(stats[0].by_severity, sort_keys=True) == '{"ERROR": 1, "INFO": 2}'
    assert (await reader.store_info()).newest_ns["log_records"] is not None
    assert await reader.components() == ["shop"]


async def test_a_huge_trace_does_not_hide_the_small_one_beside_it(engine: AsyncEngine) -> None:
    """A trace of 21,000 spans and one of 1 in one answer: both summed up over all of their spans."""
    at = now_us()
    huge = [span_row(time=at + n, span_id=n + 1) for n in range(21_000)]
    small = span_row(time=at + 30_000, trace_id=b"\x0b" * 16, name="small")
    await PostgresSink(engine).write([batch_of([*huge, small], SPANS)])

    found = await Reader(engine).find_traces(TraceQuery())

    assert [(t.root_name, t.span_count) for t in found.items] == [("small", 1), ("GET /", 21_000)]


async def test_tokens_are_known_by_hash_and_revocable(engine: AsyncEngine) -> None:
    """A made token verifies with its role; a changed, revoked or expired one does not."""
    from datetime import UTC, datetime

    text, token = await tokens.create(engine, "agent", "read")

    assert (await tokens.verify(engine, text)) is not None
    assert await tokens.verify(engine, text + "x") is None
    assert tokens.allows("admin", "read")
    assert not tokens.allows("read", "admin")
    assert await tokens.revoke(engine, "agent") == 1
    assert await tokens.verify(engine, text) is None
    old, _ = await tokens.create(engine, "old", "read", datetime(2020, 1, 1, tzinfo=UTC))
    assert await tokens.verify(engine, old) is None
    assert token.id == 1
