"""The edges of reading: nanoseconds, odd values, large traces, cursors that were made up."""

from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import cursor, tokens
from storage.columns import SPANS
from storage.cursor import InvalidCursor
from storage.errors import PermanentStoreError
from storage.filters import LogQuery, TraceQuery
from storage.reader import Reader
from storage.rows import SpanRow
from storage.sink import PostgresSink
from tests.factories import RESOURCE, SCOPE, batch_of, log_row, now_us


def span_row(trace: int, **fields: object) -> SpanRow:
    """Return a span row of 5 ms of trace number ``trace``."""
    at = int(fields.pop("time", now_us()))  # type: ignore[call-overload]
    row = SpanRow(
        at, at * 1000, at * 1000 + 5_000_000, 5_000_000, RESOURCE.id, SCOPE.id, 2, 0, 0, 0, 0, "shop",
        "GET /", "", "", b"{}", bytes([trace]) * 16, 1, None, 0, None, None, None,
    )  # fmt: skip
    return row._replace(**fields)


async def test_a_window_is_right_to_the_nanosecond(engine: AsyncEngine) -> None:
    """Records within one microsecond are told apart by a window's edges; observed time counts where no other is."""
    at = now_us()
    rows = [log_row(time=at, time_unix_nano=at * 1000 + n, body=str(n)) for n in (0, 400, 900)]
    rows.append(log_row(time=at, time_unix_nano=0, observed_time_unix_nano=at * 1000 + 500, body="observed"))
    rows.append(log_row(time=at, time_unix_nano=0, body="neither"))
    await PostgresSink(engine).write([batch_of(rows)])
    reader = Reader(engine)

    async def bodies(since: int, until: int) -> set[str | None]:
        page = await reader.find_logs(LogQuery(since_ns=at * 1000 + since, until_ns=at * 1000 + until))
        return {entry.body for entry in page.items}

    assert await bodies(100, 900) == {"400", "observed"}
    assert await bodies(400, 901) == {"400", "observed", "900"}
    assert await bodies(0, 1) == {"0", "neither"}
    assert await bodies(0, 1000) == {"0", "400", "900", "observed", "neither"}
    assert await bodies(1000, 2000) == set()


async def test_the_nearest_data_is_outside_of_the_window(engine: AsyncEngine) -> None:
    """What the window holds is not named as nearest; what lies just past its edges is."""
    at = now_us()
    await PostgresSink(engine).write([batch_of([log_row(time=at)])])
    reader = Reader(engine)

    inside = LogQuery(since_ns=at * 1000 - 5, until_ns=at * 1000 + 1)
    before = LogQuery(since_ns=at * 1000 - 9_000, until_ns=at * 1000)
    after = LogQuery(since_ns=at * 1000 + 1, until_ns=at * 1000 + 9_000)

    assert await reader.nearest_data(inside) == (None, None)
    assert await reader.nearest_data(before) == (None, at * 1000)
    assert await reader.nearest_data(after) == (at * 1000, None)


async def test_a_cursor_does_not_mind_the_order_of_attributes(engine: AsyncEngine) -> None:
    """The same attributes in another order are the same question."""
    await PostgresSink(engine).write([batch_of([log_row(attributes=b'{"a":1,"b":2}') for _ in range(2)])])
    reader = Reader(engine)

    first = await reader.find_logs(LogQuery(attributes={"a": 1, "b": 2}, limit=1))
    second = await reader.find_logs(LogQuery(attributes={"b": 2, "a": 1}, limit=1, cursor=first.next_cursor))

    assert {first.items[0].id, second.items[0].id} == {
        e.id for e in (await reader.find_logs(LogQuery())).items
    }  # fmt: skip


@pytest.mark.parametrize("place", [[1], ["x", "y"], 5, [1, 2**80], [True, 1]])
async def test_a_made_up_cursor_is_refused(engine: AsyncEngine, place: list[object]) -> None:
    """A right checksum around a wrong place is damage too, never a crash."""
    made_up = cursor.encode(place, LogQuery().canonical())

    with pytest.raises(InvalidCursor, match="damaged"):
        await Reader(engine).find_logs(LogQuery(cursor=made_up))


@pytest.mark.parametrize(
    "query",
    [
        LogQuery(text="a\0b"),
        LogQuery(text="\ud800"),
        LogQuery(component="\0"),
        LogQuery(attributes={"a": "\0"}),
        LogQuery(attributes={"a": float("nan")}),
    ],
    ids=["nul", "surrogate", "component", "attribute", "nan"],
)
async def test_a_value_postgresql_cannot_hold_is_no_passing_fault(engine: AsyncEngine, query: LogQuery) -> None:
    """Such a question is refused for good: trying again would not help."""
    with pytest.raises(PermanentStoreError, match="cannot hold"):
        await Reader(engine).find_logs(query)


async def test_a_large_trace_does_not_hide_the_others(engine: AsyncEngine) -> None:
    """20,001 spans of one trace are all counted, and the trace beside it has its summary too."""
    base = now_us() - 60_000_000
    large = [span_row(1, time=base + i, span_id=i + 1, parent_span_id=i or None) for i in range(20_001)]
    small = [span_row(2, time=base + 30_000_000, component="other")]
    sink = PostgresSink(engine)
    await sink.write([batch_of(large, SPANS), batch_of(small, SPANS)])

    page = await Reader(engine).find_traces(TraceQuery())

    assert [(t.trace_id[:2], t.span_count, t.components) for t in page.items] == [
        ("02", 1, ["other"]),
        ("01", 20_001, ["shop"]),
    ]
    assert page.items[1].duration_ns == 20_000 * 1000 + 5_000_000
    assert page.items[1].start_ns == base * 1000


async def _walk(reader: Reader, sort: str) -> Sequence[str]:
    """Return the trace numbers in the order of a walk, one a page."""
    walked, place = [], None
    while True:
        page = await reader.find_traces(TraceQuery(sort=sort, limit=1, cursor=place))  # type: ignore[arg-type]
        walked += [t.trace_id[:2] for t in page.items]
        if (place := page.next_cursor) is None:
            return walked


async def test_traces_are_walked_in_each_order(engine: AsyncEngine) -> None:
    """Newest, slowest and most errors first, ties included; errors leaves out what has none, unless asked for."""
    at = now_us()
    spans = [span_row(1, time=at, status_code=1, duration_ns=9)]
    spans += [span_row(2, time=at - 10, span_id=i, status_code=2, duration_ns=5) for i in (1, 2, 3)]
    spans += [span_row(n, time=at - 5, status_code=2, duration_ns=7) for n in (3, 4)]
    await PostgresSink(engine).write([batch_of(spans, SPANS)])
    reader = Reader(engine)

    assert await _walk(reader, "newest") == ["01", "04", "03", "02"]
    assert await _walk(reader, "slowest") == ["01", "04", "03", "02"]
    assert await _walk(reader, "errors") == ["02", "04", "03"]
    assert [t.trace_id[:2] for t in (await reader.find_traces(TraceQuery(sort="errors", status="ok"))).items] == ["01"]


async def test_a_name_of_other_digits_is_a_name(engine: AsyncEngine) -> None:
    """Revoking by a name of digits that are no number, or of too many, revokes by name."""
    for name in ("²", "9" * 40):
        await tokens.create(engine, name, "read")
        assert await tokens.revoke(engine, name) == 1
