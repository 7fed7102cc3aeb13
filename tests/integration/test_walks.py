"""Random stores and questions: walks by cursor are full scans though records arrive; no answer is over its budget."""

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from mcp_tools.tools import TOOLS
from storage.columns import METRIC_POINTS, SPANS
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, metric_point_row, now_us, span_row

TRACE = b"\x0d" * 16
records = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["shop", "b"]),
        st.sampled_from([9, 13, 17]),
        st.sampled_from(["tick 1", "tick 2", "done", "y" * 300, "é\t\u202e" * 80]),
    ),
    max_size=25,
)
questions = st.fixed_dictionaries(
    {
        "collapse": st.sampled_from(["none", "repeats", "patterns"]),
        "order": st.sampled_from(["newest", "oldest"]),
        "limit": st.integers(4, 30),
        "max_tokens": st.sampled_from([600, 4_000]),
    },
    optional={
        "component": st.just("shop"),
        "severity_min": st.sampled_from(["warn", "error"]),
        "query": st.sampled_from(["tick", "-done", "level:>=warn OR tick"]),
    },
)


def fits(answer: Answer, max_tokens: int) -> bool:
    """Whether text and data both keep to the budget."""
    room = max_tokens * 4 * 1.05
    return len(answer.text) <= room and len(json.dumps(answer.data, ensure_ascii=False, default=str)) <= room


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=records, arriving=st.lists(records.filter(bool), max_size=3), asked=questions)
async def test_a_walk_is_a_full_scan(
    engine: AsyncEngine, before: list[Any], arriving: list[list[Any]], asked: dict[str, Any]
) -> None:
    """Each record that was there when the walk began comes once; what arrives meanwhile comes once at most."""
    base = now_us() - 1_000_000
    # One store serves all examples: each looks at its own records alone. Not drawn: what is drawn comes again.
    marker = uuid4()
    mine = f"@example:{marker}"

    def rows(some: list[Any]) -> list[Any]:
        said = json.dumps({"example": str(marker)}).encode()
        return [
            log_row(time=base + at, component=who, severity_number=severity, body=body, attributes=said)
            for at, who, severity, body in some
        ]

    sink, reader = PostgresSink(engine), Reader(engine)
    await sink.write([batch_of(rows([*before, (0, "shop", 9, "first"), (0, "b", 9, "first")]))])
    whole = asked | {"query": f"{mine} ({asked.get('query', '*')})"}
    plain = {k: v for k, v in whole.items() if k not in {"collapse", "limit", "max_tokens"}}
    scan = await call(reader, "read", "logger_query", plain | {"limit": 1_000, "max_tokens": 20_000})
    arguments, returned, seen = dict(whole), 0, []
    first: Answer | None = None
    while True:
        answer = await call(reader, "read", "logger_query", arguments)
        first = first or answer
        assert fits(answer, asked["max_tokens"])
        assert answer.data["truncated"] is (answer.data["next_cursor"] is not None)
        returned += answer.data["returned"]
        seen += [row[0] for row in answer.data["rows"]]
        if arriving:
            await sink.write([batch_of(rows(arriving.pop()))])
        if answer.data["next_cursor"] is None:
            break
        arguments["cursor"] = answer.data["next_cursor"]

    assert first.data["matched"] == scan.data["matched"] == scan.data["returned"]
    assert returned >= scan.data["matched"]
    assert len(seen) == len(set(seen))
    if asked["collapse"] == "none":
        assert len(seen) == returned
        assert {row[0] for row in scan.data["rows"]} <= set(seen)


@pytest.fixture
async def monsters(engine: AsyncEngine) -> AsyncEngine:
    """Return a store of lines of a megabyte, names of ten kilobytes, a trace of 400 such spans, and 200 components."""
    at = now_us() - 5_000_000
    long = "m\u202e\x1b[31m" * 150_000
    logs = [
        log_row(time=at + i, trace_id=TRACE, span_id=i, body=long, severity_number=17,
                attributes=b'{"k%d": "%s"}' % (i, b"v" * 100_000)) for i in range(2)
    ]  # fmt: skip
    logs += [
        log_row(time=at + i, component=f"{'c' * 200}{i}", body=f"{'word ' * 60}{i}", event_name="e" * 300,
                severity_number=13) for i in range(200)
    ]  # fmt: skip
    spans = [
        span_row(time=at + i, trace_id=TRACE, span_id=i + 1, parent_span_id=i // 2 or None, name=f"{'n' * 9_000}{i}",
                 status_message="s" * 9_000, status_code=2 if i % 5 == 0 else None) for i in range(400)
    ]  # fmt: skip
    points = [metric_point_row(time=at + i, name=f"{'metric' * 50}{i}") for i in range(50)]
    sink = PostgresSink(engine)
    await sink.write([batch_of(logs)])
    await sink.write([batch_of(spans, SPANS)])
    await sink.write([batch_of(points, METRIC_POINTS)])
    return engine


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("logger_overview", {}),
    *(("logger_query", {"collapse": c}) for c in ("none", "repeats", "patterns")),
    ("logger_query", {"fields": ["body", "component", "event_name", "k1", "service.name"]}),
    ("logger_query", {"id": 1}),
    ("logger_query", {"id": 1, "fields": ["body"]}),
    ("logger_query", {"around": {"id": 1}}),
    *(
        ("logger_trace", {"trace_id": TRACE.hex(), "view": v})
        for v in ("summary", "tree", "critical_path", "errors", "logs", "spans", "full")
    ),
    ("logger_search_traces", {}),
    *(("logger_stats", {"signal": s, "top": 1_000}) for s in ("logs", "spans", "metrics")),
    ("logger_stats", {"group_by": ["event_name", "k1"], "interval": "1m"}),
    ("logger_patterns", {"compare_to": "previous"}),
    ("logger_diff", {"kind": "traces", "a": TRACE.hex(), "b": TRACE.hex()}),
    ("logger_diff", {"kind": "windows", "a": {"since": "2h", "until": "1h"}}),
    *(("logger_fields", {"signal": s}) for s in ("logs", "spans", "metrics")),
    ("logger_fields", {"key": "component"}),
    ("logger_tail", {"wait_s": 0}),
]


async def test_no_answer_is_over_its_budget(monsters: AsyncEngine) -> None:
    """Every read tool, whatever it finds, as text and as data; at the smallest budgets too."""
    over = []
    for tool, arguments in CALLS:
        for max_tokens in (512, 4_000):
            answer = await call(Reader(monsters), "read", tool, arguments | {"max_tokens": max_tokens})
            sizes = len(answer.text) / 4, len(json.dumps(answer.data, ensure_ascii=False, default=str)) / 4
            if not fits(answer, max_tokens):
                over.append((tool, arguments, max_tokens, *sizes))

    assert not over, "\n".join(map(str, over))


def test_every_read_tool_is_asked_here() -> None:
    """A new tool has its place in this table."""
    elsewhere = {"logger_get_levels", "logger_retention", "logger_sql"}

    assert {name for name, tool in TOOLS.items() if tool.role == "read"} - elsewhere <= {name for name, _ in CALLS}


@pytest.mark.parametrize("tool", sorted(name for name, tool in TOOLS.items() if tool.role == "read"))
async def test_wrong_arguments_are_named(engine: AsyncEngine, tool: str) -> None:
    """For each argument: a near miss of its name is told, and a value of a wrong type names the argument."""
    for name in TOOLS[tool].arguments.model_fields:
        with pytest.raises(UserInputError) as misspelt:
            await call(Reader(engine), "read", tool, {f"{name}x": 1})
        with pytest.raises(UserInputError) as mistyped:
            await call(Reader(engine), "read", tool, {name: [[{"x": []}]]})

        assert misspelt.value.code == "UNKNOWN_ARGUMENT"
        assert f'Did you mean "{name}"?' in str(misspelt.value)
        assert mistyped.value.code == "INVALID_ARGUMENT"
        assert f"{name}" in str(mistyped.value)
        assert "pydantic" not in str(mistyped.value)


async def test_an_attribute_that_nothing_has_is_told_in_a_query_too(engine: AsyncEngine) -> None:
    """As for attributes=: a near name, of what every record that is found must have."""
    await PostgresSink(engine).write([batch_of([log_row(attributes=b'{"exception.type":"KeyError"}')])])
    data = (await call(Reader(engine), "read", "logger_query", {"query": "hello @exception.typ:KeyError"})).data
    either = (await call(Reader(engine), "read", "logger_query", {"query": "no OR @exception.typ:KeyError"})).data

    assert 'has the attribute "exception.typ". Did you mean "exception.type"?' in " ".join(data["hints"])
    assert "exception.typ" not in " ".join(either["hints"])


async def test_a_list_may_be_written_as_text(engine: AsyncEngine) -> None:
    """As some clients send it: one, several, JSON."""
    await PostgresSink(engine).write([batch_of([log_row()])])
    for written in ("component,severity", '["component", "severity"]', ["component", "severity"]):
        data = (await call(Reader(engine), "read", "logger_stats", {"group_by": written})).data
        assert data["groups"][0]["component"] == "shop"
        assert data["groups"][0]["severity"] == "INFO"
