"""The tools over a real store: answers keep to their budget, lose nothing unsaid, and blame the right one."""

import json
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from storage.columns import SPANS
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us
from tests.integration.test_reader import span_row

# A page holds at least one row, so that a walk gets on; from here on there is room for several.
BUDGETS = (1_000, 4_000)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("logger_query", {"since": "9" * 400}),
        ("logger_query", {"severity_min": "\u00b2"}),
        ("logger_query", {"text": "\x00"}),
        ("logger_query", {"attributes": {"a\x00": "b"}}),
        ("logger_query", {"attributes": {"a": "\x00"}}),
        ("logger_query", {"attributes": {"a": float("inf")}}),
        ("logger_query", {"id": 10**30}),
        ("logger_stats", {"interval": "99999999w"}),
        ("logger_stats", {"interval": "2000d"}),
        ("logger_search_traces", {"min_duration": "9999999w"}),
    ],
)
async def test_a_wrong_question_is_not_the_stores_fault(
    engine: AsyncEngine, tool: str, arguments: dict[str, Any]
) -> None:
    """What PostgreSQL cannot hold is refused as the caller's, before it is asked."""
    with pytest.raises(UserInputError) as caught:
        await call(Reader(engine), "read", tool, arguments)

    assert caught.value.code.startswith("INVALID_")


async def test_a_group_named_twice_counts_once(engine: AsyncEngine) -> None:
    """A repeated group_by is the same question."""
    await PostgresSink(engine).write([batch_of([log_row(), log_row()])])

    answer = await call(Reader(engine), "read", "logger_stats", {"group_by": ["component", "component"]})

    assert [(g["component"], g["count"]) for g in answer.data["groups"]] == [("shop", 2)]


@pytest.mark.parametrize("max_tokens", BUDGETS)
@pytest.mark.parametrize("tool", ["logger_query", "logger_search_traces"])
async def test_pages_keep_to_the_budget_and_walk_to_the_end(engine: AsyncEngine, tool: str, max_tokens: int) -> None:
    """Text and data both stay within max_tokens, and the cursors of cut pages bring every item once."""
    now = now_us()
    rows = [log_row(time=now - i, body=f"{i} \x1b[31m" + "\u202ex" * 90) for i in range(60)]
    spans = [span_row(time=now - i, trace_id=bytes([i + 1]) * 16, name="root " * 40) for i in range(60)]
    await PostgresSink(engine).write([batch_of(rows)])
    await PostgresSink(engine).write([batch_of(spans, SPANS)])
    seen: list[Any] = []
    arguments: dict[str, Any] = {"limit": 50, "max_tokens": max_tokens}

    for _ in range(61):
        answer = await call(Reader(engine), "read", tool, arguments)
        assert len(answer.text) <= max_tokens * 4 * 1.05
        assert len(json.dumps(answer.data, ensure_ascii=False)) <= max_tokens * 4 * 1.05
        seen += [row[0] for row in answer.data.get("rows", ())]
        seen += [t["trace_id"] for t in answer.data.get("traces", ())]
        assert answer.data["truncated"] is (answer.data["next_cursor"] is not None)
        if answer.data["next_cursor"] is None:
            break
        arguments["cursor"] = answer.data["next_cursor"]

    assert len(seen) == len(set(seen)) == 60


@pytest.mark.parametrize("max_tokens", [512, *BUDGETS])
async def test_one_record_keeps_to_the_budget(engine: AsyncEngine, max_tokens: int) -> None:
    """A record by id is whole where it fits; else its longest fields are cut, and the answer names them."""
    row = log_row(body="needle " + "\u202ex" * 20_000, attributes=b'{"long": "%s", "short": "kept"}' % (b"y" * 30_000))
    await PostgresSink(engine).write([batch_of([row])])
    reader = Reader(engine)
    listed = await call(reader, "read", "logger_query", {"text": "needle"})

    answer = await call(reader, "read", "logger_query", {"id": listed.data["rows"][0][0], "max_tokens": max_tokens})

    assert len(answer.text) <= max_tokens * 4 * 1.05
    assert len(json.dumps(answer.data, ensure_ascii=False)) <= max_tokens * 4 * 1.05
    assert set(answer.data["fields_cut"]) == {"body", "attributes"}
    assert "left out: the ends of body, attributes" in answer.text
    assert answer.data["record"]["body"].startswith("needle")
    assert answer.data["record"]["component"] == "shop"


async def test_one_record_that_fits_is_whole(engine: AsyncEngine) -> None:
    """A record within the budget comes as it is stored, its attributes as an object."""
    await PostgresSink(engine).write([batch_of([log_row(body="short")])])
    reader = Reader(engine)
    listed = await call(reader, "read", "logger_query", {"text": "short"})

    answer = await call(reader, "read", "logger_query", {"id": listed.data["rows"][0][0]})

    assert answer.data["fields_cut"] == []
    assert answer.data["truncated"] is False
    assert isinstance(answer.data["record"]["attributes"], dict)


async def test_the_overview_names_the_role_of_who_asks(engine: AsyncEngine) -> None:
    """An agent learns what its token may do before it tries."""
    answer = await call(Reader(engine), "admin", "logger_overview", {})

    assert answer.data["role"] == "admin"
    assert "you have the role admin" in answer.text
