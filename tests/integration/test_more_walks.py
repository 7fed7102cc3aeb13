"""Random stores and questions for every other tool that pages or leaves out: each record once, and the sums are right.

What must be found is told by what was written, not by another question. ``test_walks`` has logger_query.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from storage.columns import SPANS
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us, span_row
from tests.integration.test_walks import fits

# One store serves all examples of a test: each looks at its own records alone, by a mark that no other example has.
# Shrinking would ask PostgreSQL for minutes.
FEW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
Arrive = Callable[[], Awaitable[None]]
budgets = st.sampled_from([600, 4_000])


async def pages(
    reader: Reader, tool: str, arguments: dict[str, Any], arrive: Arrive, cursor: str = "cursor"
) -> AsyncIterator[dict[str, Any]]:
    """Yield the pages of a walk to its end; between two of them something arrives."""
    while True:
        answer = await call(reader, "read", tool, arguments)
        assert fits(answer, arguments["max_tokens"])
        assert answer.data["truncated"] is (answer.data["next_cursor"] is not None)
        yield answer.data
        if answer.data["next_cursor"] is None:
            return
        arguments = arguments | {cursor: answer.data["next_cursor"]}
        await arrive()


spans_of_a_trace = st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(1, 600)), max_size=14)
logs_of_a_trace = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([9, 17]), st.integers(1, 600)), max_size=14)


class OneTrace:
    """A trace that grows: what was written of it, by the name it is shown by."""

    def __init__(self, sink: PostgresSink, trace_id: bytes) -> None:
        self._sink = sink
        self._base = now_us() - 60_000_000
        self.trace_id = trace_id
        self.spans: dict[str, bool] = {}
        self.logs: dict[str, bool] = {}

    async def write(self, spans: list[Any], logs: list[Any]) -> None:
        """Store more spans and log records of it."""
        made = []
        for at, failed, size in spans:
            number = len(self.spans) + 1
            self.spans[f"{number:016x}"] = failed
            made.append(
                span_row(
                    time=self._base + at, trace_id=self.trace_id, span_id=number, parent_span_id=number // 2 or None,
                    status_code=2 if failed else None, attributes=json.dumps({"x": "y" * size}).encode(),
                )
            )  # fmt: skip
        said = []
        for at, severity, size in logs:
            name = f"log-{len(self.logs)}"
            self.logs[name] = severity >= 17
            said.append(
                log_row(
                    time=self._base + at, trace_id=self.trace_id, span_id=1, severity_number=severity,
                    body=f"{name}; {'z' * size}",
                )
            )  # fmt: skip
        for batch in ([batch_of(made, SPANS)] if made else []) + ([batch_of(said)] if said else []):
            await self._sink.write([batch])

    def wanted(self, view: str, *, logs: bool) -> set[str]:
        """Return the names of what a view shows."""
        of_spans = {n for n, failed in self.spans.items() if failed or view != "errors"} if view != "logs" else set()
        of_logs = {n for n, failed in self.logs.items() if failed or view != "errors"} if view != "spans" else set()
        return of_spans | (of_logs if logs else set())


def named(lines: list[str]) -> list[str]:
    """Return the names of the records that lines begin with."""
    heads = [line for line in lines if not line.startswith(" ")]
    found = [re.search(r"(log-\d+); |\[([0-9a-f]{16})\]", head) for head in heads]
    return [match[1] or match[2] for match in found if match]


@FEW
@given(
    before=st.tuples(spans_of_a_trace.filter(bool), logs_of_a_trace),
    arriving=st.lists(st.tuples(spans_of_a_trace, logs_of_a_trace), max_size=2),
    view=st.sampled_from(["errors", "logs", "spans", "full"]),
    include_logs=st.booleans(),
    max_tokens=budgets,
)
async def test_a_walk_through_a_trace(
    engine: AsyncEngine,
    before: tuple[list[Any], list[Any]],
    arriving: list[tuple[list[Any], list[Any]]],
    view: str,
    include_logs: bool,
    max_tokens: int,
) -> None:
    """Each span and log record that was there comes once in each view, what arrives meanwhile once at most."""
    marker = uuid4()
    written = OneTrace(PostgresSink(engine), marker.bytes)
    await written.write(*before)
    wanted = written.wanted(view, logs=include_logs)
    arguments = {"trace_id": marker.hex, "view": view, "include_logs": include_logs, "max_tokens": max_tokens}

    async def arrive() -> None:
        if arriving:
            await written.write(*arriving.pop())

    seen: list[str] = []
    async for page in pages(Reader(engine), "logger_trace", arguments, arrive):
        if not seen:
            assert page["matched"] == len(wanted)
        assert page["returned_before"] == len(seen)
        assert page["returned"] == len(named(page["lines"]))
        seen += named(page["lines"])

    assert len(seen) == len(set(seen))
    assert wanted <= set(seen) <= written.wanted(view, logs=include_logs)


spans_of_traces = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 50), st.integers(1, 30), st.booleans()), min_size=8, max_size=24
)


@FEW
@given(
    before=spans_of_traces | st.just([]),
    arriving=st.lists(spans_of_traces.filter(bool), max_size=2),
    sort=st.sampled_from(["newest", "slowest", "errors"]),
    limit=st.integers(1, 5),
    max_tokens=budgets,
)
async def test_a_walk_through_traces(
    engine: AsyncEngine,
    before: list[Any],
    arriving: list[list[Any]],
    sort: str,
    limit: int,
    max_tokens: int,
) -> None:
    """Newest, slowest, or failed ones alone: each trace that was there comes once.

    One that arrives, or gets another span, once at most: it may have moved to where the walk has been.
    """
    marker = uuid4()
    sink, base = PostgresSink(engine), now_us() - 60_000_000
    failed_ones: dict[str, bool] = {}
    numbers = iter(range(1, 1_000))

    async def write(some: list[Any]) -> set[str]:
        rows, touched = [], set()
        for which, at, took, failed in some:
            trace_id = marker.bytes[:15] + bytes([which])
            touched.add(trace_id.hex())
            failed_ones[trace_id.hex()] = failed_ones.get(trace_id.hex(), False) or failed
            rows.append(
                span_row(
                    time=base + at, trace_id=trace_id, span_id=next(numbers), duration_ns=took * 1_000_000,
                    status_code=2 if failed else None, attributes=json.dumps({"example": str(marker)}).encode(),
                )
            )  # fmt: skip
        if rows:
            await sink.write([batch_of(rows, SPANS)])
        return touched

    async def arrive() -> None:
        if arriving:
            moved.update(await write(arriving.pop()))

    moved: set[str] = set()
    await write(before)
    there = {trace_id for trace_id, failed in failed_ones.items() if failed or sort != "errors"}
    arguments = {"query": f"@example:{marker}", "sort": sort, "limit": limit, "max_tokens": max_tokens, "since": "1h"}
    seen: list[str] = []
    async for page in pages(Reader(engine), "logger_search_traces", arguments, arrive):
        if not seen:
            assert page["matched"] == len(there)
        assert page["returned"] == len(page["traces"])
        seen += [trace["trace_id"] for trace in page["traces"]]

    assert len(seen) == len(set(seen))
    assert there - moved <= set(seen) <= set(failed_ones)


records = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.sampled_from([9, 13, 17]), st.sampled_from(["tick 1", "done", "w " * 40])
    ),
    min_size=1,
    max_size=30,
)


@FEW
@example(some=[("a", 9, "done")] * 3, top=1, max_tokens=512)
@given(some=records, top=st.integers(1, 6), max_tokens=st.sampled_from([512, 4_000]))
async def test_what_is_left_out_adds_up(engine: AsyncEngine, some: list[Any], top: int, max_tokens: int) -> None:
    """Numbers, values of a field, and patterns: what is shown and what is left out are all that was written."""
    base, marker = now_us() - 1_000_000, uuid4()
    said = json.dumps({"example": str(marker)}).encode()
    rows = [
        log_row(time=base + n, component=who, severity_number=severity, body=body, attributes=said)
        for n, (who, severity, body) in enumerate(some)
    ]
    await PostgresSink(engine).write([batch_of(rows)])
    by_component = Counter(who for who, _, _ in some)

    async def ask(tool: str, **arguments: Any) -> dict[str, Any]:
        given = {"query": f"@example:{marker}", "max_tokens": max_tokens} | arguments
        answer = await call(Reader(engine), "read", tool, given)
        assert fits(answer, max_tokens)
        return answer.data

    stats = await ask("logger_stats", group_by=["component"], top=top)
    values = await ask("logger_fields", key="component", limit=top)
    patterns = await ask("logger_patterns", limit=top)

    for data in (stats, values, patterns):
        assert data["returned"] + data["left_out"] == data["matched"] == len(some)
        assert data["truncated"] is (data["left_out"] > 0)
    shown = {group["component"]: group["count"] for group in stats["groups"] if group.get("component") in by_component}
    assert shown.items() <= by_component.items()
    assert sum(shown.values()) == stats["returned"]


@settings(FEW, max_examples=8)
@given(batches=st.lists(st.integers(1, 9), min_size=1, max_size=4), limit=st.integers(1, 6))
async def test_a_walk_behind_what_arrives(engine: AsyncEngine, batches: list[int], limit: int) -> None:
    """logger_tail from its cursor on: what was stored since, each record once, in pages."""
    sink, reader, base, marker = PostgresSink(engine), Reader(engine), now_us() - 1_000_000, uuid4()
    asked = {"query": f"@example:{marker}", "limit": limit, "wait_s": 0, "max_tokens": 4_000}
    said = json.dumps({"example": str(marker)}).encode()
    cursor = (await call(reader, "read", "logger_tail", asked)).data["cursor"]
    written: list[str] = []
    seen: list[str] = []
    for size in batches:
        fresh = [f"r{len(written) + n}" for n in range(size)]
        written += fresh
        await sink.write([batch_of([log_row(time=base, body=body, attributes=said) for body in fresh])])
        page = (await call(reader, "read", "logger_tail", asked | {"after": cursor})).data
        cursor = page["cursor"]
        seen += [row[4] for row in page["rows"]]
    for _ in range(len(written)):
        page = (await call(reader, "read", "logger_tail", asked | {"after": cursor})).data
        cursor = page["cursor"]
        seen += [row[4] for row in page["rows"]]

    assert sorted(seen) == sorted(written)


@pytest.mark.parametrize("tool", ["logger_query", "logger_search_traces"])
async def test_a_cursor_of_another_question_is_refused(engine: AsyncEngine, tool: str) -> None:
    """A cursor belongs to its filters and its order."""
    from mcp_tools.errors import UserInputError

    at = now_us() - 1_000_000
    await PostgresSink(engine).write([batch_of([log_row(time=at + n) for n in range(3)])])
    await PostgresSink(engine).write(
        [batch_of([span_row(time=at, trace_id=bytes([n] * 16)) for n in (1, 2, 3)], SPANS)]
    )
    first = await call(Reader(engine), "read", tool, {"limit": 1})
    for other in ({"component": "shop"}, {"query": "shop"}):
        with pytest.raises(UserInputError, match="INVALID_CURSOR"):
            await call(Reader(engine), "read", tool, other | {"limit": 1, "cursor": first.data["next_cursor"]})
