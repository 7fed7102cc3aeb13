"""logger_patterns over a real store: what was read is said, what is new is found, the budget holds."""

import json
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools import patterns
from mcp_tools.dispatch import call
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

MINUTE_US = 60_000_000


async def ask(engine: AsyncEngine, **arguments: Any) -> dict[str, Any]:
    """Return the data of an answer that keeps to its budget both ways."""
    answer = await call(Reader(engine), "read", "logger_patterns", arguments)
    room = arguments.get("max_tokens", 4_000) * 4 * 1.05
    assert len(answer.text) <= room
    assert len(json.dumps(answer.data, ensure_ascii=False)) <= room
    return answer.data


@pytest.fixture
async def store(engine: AsyncEngine) -> AsyncEngine:
    """Return ten minutes before with two patterns, and ten minutes now with one more, one less."""
    now = now_us()
    old = [log_row(time=now - 15 * MINUTE_US + i, body=f"order {i} placed") for i in range(100)]
    old += [log_row(time=now - 15 * MINUTE_US + i, body=f"old job {i} ran") for i in range(20)]
    new = [log_row(time=now - 5 * MINUTE_US + i, body=f"order {i} placed") for i in range(100)]
    new += [
        log_row(time=now - 4 * MINUTE_US + i, body=f"pool exhausted after {i} ms", severity_number=17) for i in range(9)
    ]
    new += [log_row(time=now - 4 * MINUTE_US, body="".join(chr(97 + i % 26) * (i % 7 + 1) + " " for i in range(3_000)))]
    await PostgresSink(engine).write([batch_of([*old, *new])])
    return engine


async def test_new_and_gone_come_first(store: AsyncEngine) -> None:
    """Against the ten minutes before: two new, one gone, each with counts, a trend and a record to look at."""
    data = await ask(store, since="10m", compare_to="previous")

    changes = [(row["change"], row["count"], row["base_count"], row["pattern"][:14]) for row in data["patterns"]]
    assert changes[0] == ("new", 9, 0, "pool exhausted")
    assert ("gone", 0, 20, "old job <n> ra") in changes
    assert ("same", 100, 100, "order <n> plac") in changes
    assert (data["records_read"], data["matched"], data["base_matched"]) == (110, 110, 120)
    assert data["patterns"][0]["severity"] == "ERROR"
    assert len(data["patterns"][0]["trend"]) == 8
    whole = await call(Reader(store), "read", "logger_query", {"id": data["patterns"][0]["sample_id"]})
    assert "pool exhausted" in whole.text


@pytest.mark.parametrize("max_tokens", [256, 700])
async def test_shown_and_left_out_are_what_was_read(store: AsyncEngine, max_tokens: int) -> None:
    """Whatever fits, the rest is counted."""
    data = await ask(store, since="30m", max_tokens=max_tokens)

    assert data["returned"] + data["left_out"] == data["records_read"] == 230
    assert len(data["patterns"]) + data["patterns_left_out"] == 4


async def test_what_was_not_read_is_said(store: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more records than are read the newest count, and the answer says so."""
    monkeypatch.setattr(patterns, "RECORDS_MAX", 50)

    data = await ask(store, since="30m")

    assert (data["records_read"], data["matched"]) == (50, 230)
    assert any("the newest 50 of 230 records were read" in hint for hint in data["hints"])
