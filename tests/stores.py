"""Stores for tests of packed and cold records: a few days of all three signals, and every question there is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.columns import LOG_RECORDS, METRIC_POINTS, SPANS
from storage.config import StorageConfig
from storage.engine import write_engine
from storage.export import pages
from storage.filters import LogQuery, TraceQuery
from storage.pages import ExportQuery
from storage.query.reading import parse
from storage.reader import Reader
from storage.reading import logs
from storage.reading.aggregates import Aggregate
from storage.reading.signals import Selection
from storage.reading.trace_parts import PartsQuery
from storage.rows import Row
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, metric_point_row, now_us, span_row

# What is answered is compared here, not how quickly.
logs.NEAREST_S = 30.0
DAY_US = 86_400_000_000
DAYS = 3
# Old enough to be packed whatever the hour, and the same for all of a run.
BASE_US = now_us() // DAY_US * DAY_US - (DAYS + 1) * DAY_US
WORDS = ("timeout", "Retry", "K2 \N{KELVIN SIGN}elvin", "\u0130stanbul", "100%_done", "a/b\\c", "user 42", "")
COMPONENTS = ("shop", "till", "a/b")
_TRACES = [bytes([n]) * 16 for n in range(1, 7)]
_moments = st.builds(
    lambda day, us: BASE_US + day * DAY_US + us,
    st.integers(0, DAYS - 1),
    st.integers(0, 50) | st.integers(0, DAY_US - 1),
)
_attributes = st.sampled_from(
    [
        b"{}",
        b'{"user.id":7}',
        b'{"user.id":7.0,"deep":{"a":[1,null,"x"]}}',
        b'{"ratio":1.50,"k\\"ey":"v\\\\"}',
        b'{"on":true}',
    ]
)
_maybe_trace = st.none() | st.sampled_from(_TRACES)
_spans_ids = st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(1, 4)
_exact = st.none() | st.binary(max_size=8)
_words = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)

LOGS = st.builds(
    lambda **fields: log_row(**fields, time_unix_nano=fields["time"] * 1000 + fields["severity_number"]),
    time=_moments, component=st.sampled_from(COMPONENTS), severity_number=st.integers(0, 24), body=st.none() | _words,
    attributes=_attributes, trace_id=_maybe_trace, span_id=_spans_ids, event_name=st.sampled_from(["", "paid"]),
    exact=_exact, flags=st.integers(-(1 << 31), (1 << 31) - 1),
)  # fmt: skip
SPANS_ = st.builds(
    lambda **fields: span_row(
        **fields,
        start_time_unix_nano=fields["time"] * 1000,
        end_time_unix_nano=fields["time"] * 1000 + fields["duration_ns"],
    ),
    time=_moments, component=st.sampled_from(COMPONENTS), name=st.sampled_from(["GET /", "SELECT", "pay"]),
    duration_ns=st.integers(0, 10_000_000_000), trace_id=_maybe_trace, span_id=_spans_ids, parent_span_id=_spans_ids,
    status_code=st.none() | st.integers(0, 2), status_message=st.sampled_from(["", "boom"]), attributes=_attributes,
    events=st.none() | st.just(b'[{"name":"e","time_unix_nano":1}]'), links=st.none() | st.just(b"[]"), exact=_exact,
)  # fmt: skip
POINTS = st.builds(
    metric_point_row,
    time=_moments, component=st.sampled_from(COMPONENTS), value_int=_spans_ids,
    value_double=st.none() | st.floats(), is_monotonic=st.booleans(), attributes=_attributes, exact=_exact,
)  # fmt: skip
ROWS: dict[str, tuple[Any, st.SearchStrategy[Row]]] = {
    "log_records": (LOG_RECORDS, LOGS),
    "spans": (SPANS, SPANS_),
    "metric_points": (METRIC_POINTS, POINTS),
}

_WRITTEN = (
    "@user.id:>6", "@user.id:7", "@ratio:1*", "@on:true", "@nothing:*", "@user.id:* -timeout", "event:paid OR retry",
    "trace:0101*", "span:000*", "level:warn", "level:>=error", "component:(shop OR till)", "component:a*",
    "service.name:a*",
    "body:*", "'a/b' OR @user.id:7.0", "NOT @on:true", '"k2"',
)  # fmt: skip
_edges = st.none() | _moments.map(lambda us: us * 1000) | _moments.map(lambda us: us * 1000 + 7)
_some = {"component": st.none() | st.sampled_from([*COMPONENTS, "nobody"])}
_pairs = st.sampled_from(
    [{}, {}, {"user.id": 7}, {"ratio": 1.5}, {"on": True}, {"service.name": "shop"}, {'k"ey': "v\\"}]
)
LOG_QUERIES = st.builds(
    LogQuery,
    **_some, trace_id=st.none() | st.sampled_from([t.hex() for t in _TRACES]), span_id=st.none() | st.just(f"{3:016x}"),
    severity_min=st.none() | st.integers(1, 24),
    text=st.none() | st.sampled_from(["TIMEOUT", "k2", "kelvin", "istanbul", "%_", "/b\\", "42", "no such"]),
    attributes=_pairs, since_ns=_edges, until_ns=_edges, order=st.sampled_from(["newest", "oldest"]),
    query=st.none() | st.sampled_from([parse(text) for text in _WRITTEN]),
    limit=st.integers(1, 12),
)  # fmt: skip
TRACE_QUERIES = st.builds(
    TraceQuery,
    **_some, name=st.none() | st.sampled_from(["GET /", "pay"]),
    status=st.none() | st.sampled_from(["error", "ok", "unset"]),
    min_duration_ns=st.none() | st.integers(0, 10_000_000_000), attributes=_pairs, since_ns=_edges, until_ns=_edges,
    sort=st.sampled_from(["newest", "slowest", "errors"]), limit=st.integers(1, 5),
)  # fmt: skip
_traces = st.sampled_from([*_TRACES, b"\xee" * 16]).map(bytes.hex)
PARTS_QUERIES = st.builds(
    PartsQuery, trace_id=_traces, spans=st.booleans(), logs=st.booleans(), failed=st.booleans(), limit=st.integers(1, 9)
)
SELECTIONS = st.builds(Selection, signal=st.just("logs"), query=LOG_QUERIES) | st.builds(
    Selection, signal=st.just("spans"), query=TRACE_QUERIES
)
AGGREGATES = st.builds(
    Aggregate,
    selection=SELECTIONS,
    measure=st.just("count"),
    group_by=st.lists(st.just("component"), max_size=1),
    interval_s=st.none() | st.just(3600),
)
_times = _moments.map(lambda us: us * 1000)
_groups = st.lists(st.sampled_from(["component", "severity", "event_name"]), unique=True)

# How each read function is asked; one that is not here fails a test.
QUESTIONS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "find_logs": st.tuples(LOG_QUERIES),
    "get_log": st.tuples(st.integers(1, 400)),
    "nearest_data": st.tuples(LOG_QUERIES),
    "find_messages": st.tuples(LOG_QUERIES),
    "read_messages": st.tuples(LOG_QUERIES),
    "read_lines": st.tuples(LOG_QUERIES),
    "line_counts": st.tuples(LOG_QUERIES, st.just(0), st.none() | st.just(3_600_000_000_000)),
    "trace_outline": st.tuples(_traces, st.integers(1, 20), st.integers(1, 20)),
    "trace_parts": st.tuples(PARTS_QUERIES),
    "find_traces": st.tuples(TRACE_QUERIES),
    "trace_ids": st.tuples(TRACE_QUERIES),
    "component_stats": st.tuples(_times, _times),
    "log_counts": st.tuples(LOG_QUERIES, _groups, st.none() | st.sampled_from([60, 3600])),
    "components": st.tuples(),
    "whole_traces": st.tuples(st.lists(_traces, max_size=3), st.integers(1, 20), st.integers(1, 20)),
    "aggregate": st.tuples(AGGREGATES),
    "field_values": st.tuples(SELECTIONS),
    "operations": st.tuples(st.sampled_from(COMPONENTS), st.none() | st.just(2)),
    "service_numbers": st.tuples(_times, _times),
    "versions": st.tuples(),
    "spans_by_service": st.tuples(st.lists(_traces, max_size=3)),
    "calls": st.tuples(_times, _times),
}
TABLES = list(ROWS)
NOT_OF_RECORDS = {"store_info", "ping", "retention", "tail_begin", "tail_look", "packed_until"}


async def answer(reader: Reader, name: str, arguments: tuple[Any, ...]) -> Any:
    """Return what a read function answers, all pages of it, in a form that compares."""
    function: Callable[..., Any] = getattr(reader, name)
    found = await function(*arguments)
    if name in {"find_logs", "find_traces"} and found.next_cursor is not None:
        (query,) = arguments
        return [found, await answer(reader, name, (replace(query, cursor=found.next_cursor),))]
    return sorted(found, key=repr) if name in {"log_counts", "line_counts"} else found


STORES = st.fixed_dictionaries({name: st.lists(rows, max_size=40) for name, (_, rows) in ROWS.items()})
ASKED = st.one_of([st.tuples(st.just(name), arguments) for name, arguments in QUESTIONS.items()])


# Shrinking stores and questions takes minutes: the failing example is small enough to read.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def assert_same_answers(
    config: StorageConfig, move: Callable[[AsyncEngine, list[bool]], Awaitable[None]], examples: int, questions: int
) -> None:
    """Assert that any questions of any store have one answer, before and after ``move`` took chosen partitions.

    Late records come after that, and are moved too; exports say the same as well.
    """
    runner = asyncio.Runner()
    engine = write_engine(config)

    async def check(store: dict[str, Any], late: dict[str, Any], chosen: list[bool], asked: list[Any]) -> None:
        await emptied(engine)
        await stored(engine, store)
        reader = Reader(engine)
        for rows in ({}, late):
            await stored(engine, rows)
            answers = [await answer(reader, *question) for question in asked]
            whole = await exported(engine)
            await move(engine, chosen)
            for question, expected in zip(asked, answers, strict=True):
                assert await answer(reader, *question) == expected, question
            assert await exported(engine) == whole

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=_PHASES)
    @given(
        store=STORES,
        late=STORES,
        chosen=st.lists(st.booleans(), min_size=9, max_size=9),
        asked=st.lists(ASKED, min_size=questions, max_size=questions),
    )
    def holds(store: dict[str, Any], late: dict[str, Any], chosen: list[bool], asked: list[Any]) -> None:
        runner.run(check(store, late, chosen, asked))

    with runner:
        try:
            holds()
        finally:
            runner.run(engine.dispose())


async def emptied(engine: AsyncEngine) -> None:
    """Begin anew, with ids from 1."""
    async with engine.begin() as connection:
        await connection.execute(
            text("TRUNCATE log_records, spans, metric_points, packed_blocks, cold_files, cold_chunks")
        )
        for table in TABLES:
            await connection.execute(text(f"ALTER SEQUENCE {table}_id_seq RESTART"))


async def stored(engine: AsyncEngine, store: dict[str, list[Any]]) -> None:
    """Store the rows of each table."""
    for table, rows in store.items():
        if rows:
            await PostgresSink(engine).write([batch_of(rows, ROWS[table][0])])


async def exported(engine: AsyncEngine) -> list[Any]:
    """Return all that an export gives, in its order, resources and scopes included."""
    found: list[Any] = []
    for table, _ in ROWS.values():
        async for page in pages(engine, table, ExportQuery()):
            found += [repr(row) for row in page.rows]
            found += [sorted(page.resources.values()), sorted(page.scopes.values())] * (not found)
    return found


def many(count: int, **fields: Any) -> list[Any]:
    """Return log records of three components, a second apart, in the oldest day of the tests."""
    return [
        log_row(
            time=BASE_US + n * 1_000_000,
            component=COMPONENTS[n % 3],
            body=f"message {n}",
            severity_number=n % 20 + 1,
            trace_id=(n // 8 + 1).to_bytes(16, "big"),
            **fields,
        )
        for n in range(count)
    ]


async def all_logs(reader: Reader) -> AsyncIterator[Any]:
    """Yield every log record, a page at a time."""
    cursor = None
    while True:
        page = await reader.find_logs(LogQuery(limit=1000, cursor=cursor))
        for entry in page.items:
            yield entry
        if (cursor := page.next_cursor) is None:
            return
