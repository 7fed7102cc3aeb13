"""logger_diff: the call that got slow, the calls that came, the attribute and message that a window did not have."""

import json
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from storage.columns import SPANS
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us, span_row

MS = 1_000_000
MINUTE_US = 60_000_000
A, B = b"\x0a" * 16, b"\x0b" * 16


async def diff(engine: AsyncEngine, **arguments: Any) -> dict[str, Any]:
    """Return the data of an answer that keeps to its budget both ways."""
    answer = await call(Reader(engine), "read", "logger_diff", arguments)
    room = arguments.get("max_tokens", 4_000) * 4 * 1.05
    assert len(answer.text) <= room
    assert len(json.dumps(answer.data, ensure_ascii=False)) <= room
    assert answer.data["returned"] + answer.data["left_out"] == answer.data["matched"]
    return answer.data


def request(trace: bytes, *, query_ms: int, queries: int, cache: bool) -> list[Any]:
    """Return a trace: frontend > orders > queries; with or without a call to the cache."""
    at = now_us()
    total = query_ms * queries + 20
    spans = [
        span_row(time=at, span_id=1, component="frontend", name="GET /", duration_ns=total * MS),
        span_row(time=at + 5_000, span_id=2, parent_span_id=1, component="orders", name="list",
                 duration_ns=(total - 10) * MS),
    ]  # fmt: skip
    spans += [
        span_row(time=at + 10_000 + i * query_ms * 1000, span_id=10 + i, parent_span_id=2, component="orders",
                 name="SELECT", duration_ns=query_ms * MS) for i in range(queries)
    ]  # fmt: skip
    spans += (
        [span_row(time=at + 6_000, span_id=5, parent_span_id=2, component="cache", name="GET", duration_ns=MS // 4)]
        if cache
        else []
    )
    return [s._replace(trace_id=trace) for s in spans]


async def test_what_is_different_in_a_trace(engine: AsyncEngine) -> None:
    """The slow query alone is slower, not all that waited for it; the call that is gone is told with its path."""
    spans = request(A, query_ms=2, queries=3, cache=True) + request(B, query_ms=80, queries=3, cache=False)
    await PostgresSink(engine).write([batch_of(spans, SPANS)])

    data = await diff(engine, kind="traces", a=A.hex(), b=B.hex())

    found = [(d["change"], d["path"].split(" > ")[-1]) for d in data["differences"]]
    assert found == [("slower", "orders SELECT"), ("removed", "cache GET")]
    assert data["differences"][0]["b"]["self_ms"] == 240
    assert data["same"] == 2
    assert (await diff(engine, kind="traces", a=A.hex(), b=A.hex()))["differences"] == []


async def test_what_is_different_in_a_window(engine: AsyncEngine) -> None:
    """The new error message first, then the attribute whose share changed; ids of requests tell nothing."""
    now = now_us()

    def records(at: int, version: str, count: int) -> list[Any]:
        said = b'{"version": "%s", "request": "r%d-%d"}'
        return [
            log_row(time=at + i, body=f"order {i} placed", attributes=said % (version.encode(), at, i))
            for i in range(count)
        ]

    rows = records(now - 40 * MINUTE_US, "1.0", 200) + records(now - 5 * MINUTE_US, "1.1", 200)
    rows += [log_row(time=now - 4 * MINUTE_US + i, severity_number=17, body="currency is None") for i in range(5)]
    await PostgresSink(engine).write([batch_of(rows)])

    data = await diff(engine, kind="windows", a={"since": "50m", "until": "30m"}, b={"since": "10m"})

    first, *others = data["differences"]
    assert (first["what"], first["pattern"], first["b"]) == ("pattern", "currency is None", 5)
    assert {(d["key"], d["value"]) for d in others[:2]} == {("version", "1.0"), ("version", "1.1")}
    assert not [d for d in others if d.get("key") == "request"]


@pytest.mark.parametrize(("arguments", "code"), [
    ({"kind": "traces", "a": {"since": "1h"}, "b": "0" * 32}, "INVALID_ARGUMENT"),
    ({"kind": "traces", "a": "0" * 31 + "1", "b": "0" * 32}, "UNKNOWN_TRACE"),
    ({"kind": "windows", "a": "1h"}, "INVALID_ARGUMENT"),
    ({"kind": "windows", "a": {"since": "1h"}}, "INVALID_ARGUMENT"),
    ({"kind": "spans", "a": "1h"}, "INVALID_ARGUMENT"),
])  # fmt: skip
async def test_wrong_questions(engine: AsyncEngine, arguments: dict[str, Any], code: str) -> None:
    """Each says what it takes."""
    with pytest.raises(UserInputError) as caught:
        await diff(engine, **arguments)

    assert caught.value.code == code
