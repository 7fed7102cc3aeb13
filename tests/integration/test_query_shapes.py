"""logger_query: equal messages folded, surroundings, chosen columns, one long record piece by piece."""

import json
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us


async def query(engine: AsyncEngine, **arguments: Any) -> Answer:
    """Ask logger_query; the answer keeps to its budget both ways."""
    answer = await call(Reader(engine), "read", "logger_query", arguments)
    room = arguments.get("max_tokens", 4_000) * 4 * 1.05
    assert len(answer.text) <= room
    assert len(json.dumps(answer.data, ensure_ascii=False)) <= room
    return answer


@pytest.mark.parametrize("collapse", ["repeats", "patterns"])
async def test_folded_pages_stand_for_every_record_once(engine: AsyncEngine, collapse: str) -> None:
    """A walk over folded pages counts each record once, whatever its page held; the counts are exact."""
    at = now_us() - 10_000
    bodies = ["retry 1 of job 17", "retry 2 of job 18", "done in 3 ms", "retry 9 of job 4", "cache miss"]
    rows = [log_row(time=at + i // 3, body=f"{bodies[i % 5]}") for i in range(700)]
    rows += [log_row(time=at + 9_000 + i, body=f"slow query took {i} ms") for i in range(2_100)]
    await PostgresSink(engine).write([batch_of(rows)])
    counted, arguments = 0, {"collapse": collapse, "limit": 40, "max_tokens": 1_500}

    for _ in range(200):
        answer = await query(engine, **arguments)
        assert sum(row[answer.data["columns"].index("n")] for row in answer.data["rows"]) == answer.data["returned"]
        assert len(answer.data["rows"]) <= 40
        counted += answer.data["returned"]
        if answer.data["next_cursor"] is None:
            break
        arguments["cursor"] = answer.data["next_cursor"]

    assert counted == answer.data["matched"] == 2_800


async def test_repeats_are_one_line(engine: AsyncEngine) -> None:
    """Two thousand equal messages between two others: three lines, the middle one ×998 on a first page."""
    at = now_us() - 10_000
    rows = [log_row(time=at, body="begin"), *(log_row(time=at + 1 + i, body=f"retry {i}") for i in range(100))]
    await PostgresSink(engine).write([batch_of([*rows, log_row(time=at + 500, body="end")])])

    answer = await query(engine, collapse="repeats")

    assert [row[-2] for row in answer.data["rows"]] == [1, 100, 1]
    assert "retry 99 " in answer.text
    assert "×100 to" in answer.text
    assert "102 of 102 log records in 3 lines" in answer.text


async def test_what_was_logged_around_a_record(engine: AsyncEngine) -> None:
    """The neighbours of its component, or of its trace, oldest first, the record itself marked."""
    at = now_us() - 10_000
    rows = [log_row(time=at + i // 2, body=f"line {i}", trace_id=bytes([i % 2 + 1]) * 16) for i in range(60)]
    rows += [log_row(time=at + i, component="other", body="elsewhere", trace_id=b"\x01" * 16) for i in range(30)]
    await PostgresSink(engine).write([batch_of(rows)])
    anchor = (await query(engine, text="line 30")).data["rows"][0][0]

    near = await query(engine, around={"id": anchor, "before": 3, "after": 2})
    trace = await query(engine, around={"id": anchor, "before": 4, "after": 4, "same": "trace"})
    tight = await query(engine, around={"id": anchor, "before": 25, "after": 25}, max_tokens=700)

    assert [line.split("line ")[1].split()[0] for line in near.data["lines"]] == ["27", "28", "29", "30", "31", "32"]
    assert [line for line in near.data["lines"] if line.startswith("> ")] == [near.data["lines"][3]]
    assert "elsewhere" in trace.text
    assert "line 31" not in trace.text
    assert tight.data["left_out"] + tight.data["returned"] == 51
    assert any(line.startswith("> ") for line in tight.data["lines"])


async def test_chosen_columns(engine: AsyncEngine) -> None:
    """fields= takes columns and attribute keys; a key that nothing has names its neighbour."""
    row = log_row(body="x", attributes=b'{"http.route": "/pay", "http.status_code": 500}')
    await PostgresSink(engine).write([batch_of([row])])

    answer = await query(engine, fields=["time", "http.route", "http.status_code", "service.name", "http.rout"])

    assert answer.data["columns"] == ["time", "http.route", "http.status_code", "service.name", "http.rout"]
    assert answer.data["rows"][0][1:] == ["/pay", 500, "shop", None]
    assert "http.route=/pay http.status_code=500 service.name=shop" in answer.text
    assert 'the field "http.rout". Did you mean "http.route"?' in answer.text


async def test_a_line_of_a_megabyte_is_read_piece_by_piece(engine: AsyncEngine) -> None:
    """Cut in a list, cut in the record, whole by cursor over its one field."""
    body = "".join(f"{i} é\t---- " for i in range(80_000))
    await PostgresSink(engine).write([batch_of([log_row(body=body)])])
    listed = await query(engine)
    identifier = listed.data["rows"][0][0]
    assert f"…+{len(body) - 400}" in listed.text
    record = await query(engine, id=identifier)
    assert record.data["fields_cut"] == ["body"]
    assert f'id={identifier}, fields=["body"] goes on by cursor' in record.text

    read, arguments = 0, {"id": identifier, "fields": ["body"], "max_tokens": 20_000}
    while True:
        piece = await query(engine, **arguments)
        assert f"characters {read} to {read + piece.data['returned']} of {len(body)}" in piece.text
        read += piece.data["returned"]
        if piece.data["next_cursor"] is None:
            break
        arguments["cursor"] = piece.data["next_cursor"]

    assert read == len(body)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"around": {"id": 1}}, "UNKNOWN_ID"),
        ({"around": {"id": 0}}, "INVALID_ARGUMENT"),
        ({"fields": ["body"], "collapse": "repeats"}, "INVALID_ARGUMENT"),
        ({"collapse": "some"}, "INVALID_ARGUMENT"),
        ({"query": "level:>=loud"}, "INVALID_QUERY"),
        ({"collapse": "repeats", "cursor": "k1.a"}, "INVALID_CURSOR"),
    ],
)
async def test_wrong_questions_are_refused(engine: AsyncEngine, arguments: dict[str, Any], code: str) -> None:
    """Each with a code of its own."""
    with pytest.raises(UserInputError) as caught:
        await query(engine, **arguments)

    assert caught.value.code == code
