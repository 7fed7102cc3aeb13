"""logger_overview: what is new and how errors compare with just before stand in one look, within the budget."""

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

MINUTE_US = 60_000_000


async def test_new_errors_and_the_rate_before(engine: AsyncEngine) -> None:
    """A new message is named with a record; the error rate stands beside that of the hour before."""
    now = now_us()
    rows = [log_row(time=now - 90 * MINUTE_US, body=f"fine {i}") for i in range(9)]
    rows += [log_row(time=now - 90 * MINUTE_US, body="usual trouble 7", severity_number=17)]
    rows += [log_row(time=now - MINUTE_US, body="usual trouble 8", severity_number=17)]
    rows += [log_row(time=now - MINUTE_US, body=f"pool {i} exhausted", severity_number=17) for i in range(4)]
    rows += [log_row(time=now - MINUTE_US, body="fine") for i in range(5)]
    await PostgresSink(engine).write([batch_of(rows)])

    answer = await call(Reader(engine), "read", "logger_overview", {})

    assert "new: ERROR shop pool <n> exhausted ×4 (#" in answer.text
    assert [p["pattern"] for p in answer.data["new_patterns"]] == ["pool <n> exhausted"]
    assert "errors 50 % (before: 10 %)" in answer.text
    shop = answer.data["components"][0]
    assert (shop["error_rate"], shop["error_rate_before"]) == (0.5, 0.1)


@pytest.mark.parametrize("max_tokens", [700, 2_000])
async def test_many_components_keep_to_the_budget(engine: AsyncEngine, max_tokens: int) -> None:
    """What does not fit is counted."""
    rows = [log_row(component=f"component-{i:03}", body="x") for i in range(120)]
    await PostgresSink(engine).write([batch_of(rows)])

    answer = await call(Reader(engine), "read", "logger_overview", {"max_tokens": max_tokens})

    assert len(answer.text) <= max_tokens * 4 * 1.05
    assert len(json.dumps(answer.data, ensure_ascii=False)) <= max_tokens * 4 * 1.05
    assert len(answer.data["components"]) + answer.data["components_left_out"] == 120
