"""logger_trace over a real store: each view keeps to its budget, nothing is lost unsaid, absence is told apart."""

import json
import time
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from mcp_tools.trace_lines import Drawn
from storage.columns import SPANS
from storage.reader import Reader
from storage.sink import PostgresSink
from storage.views import Spooled
from tests.factories import batch_of, log_row, now_us, span_row
from tests.property.test_trace_lines import stands_for

TRACE = b"\x0c" * 16
DAY_US = 86_400 * 10**6
VIEWS = ("summary", "tree", "critical_path", "errors", "logs", "spans", "full")


async def trace(engine: AsyncEngine, **arguments: Any) -> Answer:
    """Ask for the trace."""
    return await call(Reader(engine), "read", "logger_trace", {"trace_id": TRACE.hex()} | arguments)


async def store(engine: AsyncEngine, spans: list[Any], logs: list[Any] = []) -> None:  # noqa: B006
    """Store spans and log records of the trace."""
    sink = PostgresSink(engine)
    await sink.write([batch_of([s._replace(trace_id=TRACE) for s in spans], SPANS)])
    if logs:
        await sink.write([batch_of([entry._replace(trace_id=TRACE) for entry in logs])])


def fits(answer: Answer, max_tokens: int) -> bool:
    """Whether text and data both keep to the budget."""
    room = max_tokens * 4 * 1.05
    return len(answer.text) <= room and len(json.dumps(answer.data, ensure_ascii=False)) <= room


def checkout(at: int) -> list[Any]:
    """Return a request: frontend waits for payments, which fails; 30 queries on the way."""
    us = 1_000_000
    spans = [
        span_row(time=at, span_id=1, name="POST /checkout", component="frontend", duration_ns=800 * us),
        span_row(time=at + 10_000, span_id=2, parent_span_id=1, name="Charge", component="payments",
                 duration_ns=700 * us, status_code=2, status_message="PoolTimeout"),
        *(span_row(time=at + 20_000 + i * 1_000, span_id=10 + i, parent_span_id=2, name="SELECT users",
                   component="payments", duration_ns=(3 + i % 7) * us) for i in range(30)),
    ]  # fmt: skip
    return [s._replace(end_time_unix_nano=s.start_time_unix_nano + s.duration_ns) for s in spans]


async def test_the_summary_names_what_failed_and_what_it_waited_for(engine: AsyncEngine) -> None:
    """One look: the failed span, the critical path, the thirty queries as one line, the error below its span."""
    at = now_us()
    logs = [log_row(time=at + 5, span_id=2, severity_number=17, body="timeout acquiring connection"),
            log_row(time=at + 6, span_id=2, body="waiting")]  # fmt: skip
    await store(engine, checkout(at), logs)

    answer = await trace(engine)

    assert "failed: payments Charge: PoolTimeout" in answer.text
    assert "critical path (*): frontend POST /checkout [self 100ms] > payments Charge" in answer.text
    assert "SELECT users server ×30 (3.0ms-9.0ms, Σ " in answer.text
    assert "timeout acquiring connection" in answer.text
    assert "logs: 1 below WARN" in answer.text
    assert (answer.data["spans_left_out"], answer.data["logs_left_out"]) == (0, 1)
    assert answer.data["state"].startswith("still arriving")


@pytest.mark.parametrize("view", VIEWS)
async def test_twenty_thousand_spans_keep_to_the_budget_and_the_root(engine: AsyncEngine, view: str) -> None:
    """The root arrives last; no view is over its budget, and the summary keeps root and error."""
    at = now_us()
    spans = [span_row(time=at + i, span_id=i + 2, parent_span_id=1 if i < 500 else i // 40 + 2, name=f"step {i % 97}",
                      attributes=b'{"k": "%s"}' % (b"v" * 200)) for i in range(19_998)]  # fmt: skip
    spans.append(span_row(time=at + 7, span_id=30_000, parent_span_id=9_000, name="culprit", status_code=2))
    spans.append(span_row(time=at - 5, span_id=1, name="the root", duration_ns=10**9))
    await store(engine, spans)

    for max_tokens in (1_000, 4_000):
        answer = await trace(engine, view=view, max_tokens=max_tokens)

        assert fits(answer, max_tokens)
        assert answer.data["spans"] == 20_000
        if view in {"summary", "tree"}:
            lines = answer.data["lines"]
            assert any("the root" in line for line in lines)
            assert any("culprit" in line for line in lines)
            drawn = [x for x in lines if not x.startswith(("failed: ", "critical path"))]
            assert sum(stands_for(Drawn(drawn, 0, 0))) == 20_000


@pytest.mark.parametrize("view", ["logs", "spans", "full"])
async def test_pages_are_the_whole_trace(engine: AsyncEngine, view: str) -> None:
    """A walk by cursor brings each record once, those of one microsecond too; long fields are cut visibly."""
    at = now_us()
    spans = [
        span_row(time=at + i // 10, span_id=i + 1, attributes=b'{"big": "%s"}' % (b"x" * 9_000)) for i in range(40)
    ]
    logs = [log_row(time=at + i // 10, span_id=1, body=f"{i} " + "y" * 3_000) for i in range(40)]
    await store(engine, spans, logs)
    seen: list[str] = []
    arguments: dict[str, Any] = {"view": view, "max_tokens": 1_000}

    while True:
        answer = await trace(engine, **arguments)
        assert fits(answer, 1_000)
        records = [line for line in answer.data["lines"] if not line.startswith("  ")]
        assert len(records) == answer.data["returned"]
        seen += records
        if answer.data["next_cursor"] is None:
            break
        assert answer.data["next_cursor"] in answer.text
        arguments["cursor"] = answer.data["next_cursor"]

    assert len(seen) == len(set(seen)) == answer.data["matched"] == (80 if view == "full" else 40)


async def test_one_span_in_full_and_a_branch(engine: AsyncEngine) -> None:
    """span_ids shows every field; focus_span draws what is below it and says what stands outside."""
    at = now_us()
    event = b'[{"time_unix_nano": 1, "name": "exception", "attributes": {"exception.type": "PoolTimeout"}}]'
    spans = checkout(at)
    spans[1] = spans[1]._replace(attributes=b'{"db.pool": "main"}', events=event)
    await store(engine, spans)

    whole = await trace(engine, span_ids=["0000000000000002"], include_logs=False)
    branch = await trace(engine, focus_span="0000000000000002")
    errors = await trace(engine, view="errors")

    assert '{"db.pool": "main"}' in whole.text
    assert "exception.type" in whole.text
    assert whole.data["returned"] == whole.data["matched"] == 1
    assert branch.data["lines"][0] == "below frontend POST /checkout"
    assert branch.data["spans_left_out"] == 1
    assert "1 spans outside of focus_span" in branch.text
    assert "below frontend POST /checkout" in errors.text
    assert "PoolTimeout" in errors.text


async def test_what_cannot_be_found_is_told_apart(engine: AsyncEngine) -> None:
    """Expired, never seen, not here yet, nothing stored at all, and a span that is not of this trace."""

    async def code(**arguments: Any) -> str:
        with pytest.raises(UserInputError) as caught:
            await call(Reader(engine), "read", "logger_trace", {"trace_id": "ff" * 16} | arguments)
        return caught.value.code

    assert await code() == "UNKNOWN_TRACE"
    await store(engine, checkout(now_us() - 600_000_000))

    assert await code() == "UNKNOWN_TRACE"
    assert await code(at="2h") == "UNKNOWN_TRACE"
    assert await code(at="31d") == "EXPIRED"
    assert await code(at="5m") == "UNKNOWN_TRACE"
    assert await code(at="1s") == "NOT_YET"
    assert await code(trace_id=TRACE.hex(), focus_span="00000000000000ff") == "UNKNOWN_SPAN"
    assert await code(trace_id=TRACE.hex(), view="logs", cursor="k1.x") == "INVALID_CURSOR"
    assert "still arriving" not in (await trace(engine)).text


async def _why(engine: AsyncEngine, trace_id: str, **arguments: Any) -> str:
    """Return what is said of a trace that is not stored."""
    with pytest.raises(UserInputError) as caught:
        await call(Reader(engine), "read", "logger_trace", {"trace_id": trace_id} | arguments)
    return str(caught.value)


def _uuid7(at_us: int) -> str:
    return f"{at_us // 1000:012x}7{'a' * 3}8{'b' * 15}"


async def test_what_an_id_tells_of_its_time_is_used(engine: AsyncEngine) -> None:
    """A UUIDv7 always; the first digits, as of X-Ray, where the ids of this store begin with the time."""
    now = now_us()
    await store(engine, checkout(now - 600_000_000))
    xray = [span_row(time=now - n, trace_id=(now // 10**6).to_bytes(4, "big") + bytes([n] * 12)) for n in range(9)]
    by_xray = f"{now // 10**6 - 40 * 86_400:08x}{'c' * 24}"

    assert (await _why(engine, _uuid7(now - 40 * DAY_US))).startswith("EXPIRED: trace ")
    assert (await _why(engine, _uuid7(now))).startswith("NOT_YET")
    assert "records of that time are kept: it was never stored" in await _why(engine, _uuid7(now - 300_000_000))
    assert "nothing expires here before 30d" in await _why(engine, _uuid7(now + 9 * DAY_US))  # no time of ours
    assert (await _why(engine, by_xray)).startswith("UNKNOWN_TRACE")  # a random id would look like this
    await PostgresSink(engine).write([batch_of(xray, SPANS)])
    assert "EXPIRED" in await _why(engine, by_xray)
    assert "the ids of this store begin with the time" in await _why(engine, by_xray)


async def test_what_cannot_be_told_is_not_told(engine: AsyncEngine) -> None:
    """Without a time: whether anything can have expired at all, and what waits in a spool."""
    await store(engine, checkout(now_us() - 600_000_000))
    assert "nothing expires here before 30d, and the oldest record is of" in await _why(engine, "f" * 32)

    await store(engine, checkout(now_us() - 29 * DAY_US - DAY_US // 2))
    unknown = await _why(engine, "f" * 32)
    assert "it has expired (30d are kept); else it was never stored" in unknown
    assert "at= (about when it was) tells which" in unknown

    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE retention_rules SET keep_s = NULL WHERE signal = 'spans'")
    assert "nothing expires here, and" in await _why(engine, "f" * 32)
    spooled = Spooled(requests=2, records=7, bytes=9, set_aside_bytes=0, oldest_s=1.0, state="")
    with pytest.raises(UserInputError, match="7 records that were received wait to be stored"):
        await call(Reader(engine, lambda: spooled), "read", "logger_trace", {"trace_id": "f" * 32})


async def test_a_span_that_failed_says_what_it_logged(engine: AsyncEngine) -> None:
    """Where it has no message of its own; one without a word says that it has none."""
    at = now_us() - 60_000_000
    spans = [
        span_row(time=at, span_id=1, name="pay"),
        span_row(time=at, span_id=2, parent_span_id=1, name="charge", status_code=2),
        span_row(time=at, span_id=3, parent_span_id=1, name="mail", status_code=2),
    ]
    await store(engine, spans, [log_row(time=at, span_id=2, severity_number=17, body="card declined")])
    text = (await trace(engine)).text

    assert "failed: shop charge: card declined" in text
    assert "failed: shop mail: no message" in text


async def test_a_trace_that_misses_a_parent_says_whether_it_may_come(engine: AsyncEngine) -> None:
    """A span whose parent is not stored stands at the top, marked; young traces may get it yet."""
    await store(engine, [span_row(span_id=5, parent_span_id=4, time=time.time_ns() // 1000)])

    answer = await trace(engine)

    assert "1 spans have a parent that is not stored yet" in answer.data["state"]
    assert "(its parent is not stored)" in answer.text


async def test_log_records_alone_are_a_trace(engine: AsyncEngine) -> None:
    """No span was sent: the records are shown all the same."""
    await PostgresSink(engine).write(
        [batch_of([log_row(trace_id=TRACE, span_id=None, severity_number=17, body="alone")])]
    )

    for view in VIEWS:
        answer = await trace(engine, view=view)
        assert answer.data["logs"] == 1
    assert "alone" in (await trace(engine)).text
