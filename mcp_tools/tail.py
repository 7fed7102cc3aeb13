"""logger_tail: what is stored from now on, each record once, however late its transaction ends."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Asked, check_component
from mcp_tools.following import cursor_of, place_of
from mcp_tools.language import read_query
from mcp_tools.log_filters import LogWords
from storage.filters import LogQuery
from storage.reader import Reader
from storage.reading.tail import MESSAGES, TailPage, TailPlace
from storage.views import LogNode

POLL_S = 0.25
_PROGRESS_S = 1.0
_ENVELOPE_TOKENS = 120
COLUMNS = ("id", "time", "severity", "component", "body", "trace_id", "span_id")


class TailArguments(LogWords):
    """Arguments of logger_tail."""

    component: str | None = None
    after: str | None = Field(None, description="cursor of the former call, same filters; without: the newest records")
    wait_s: float = Field(10, ge=0, le=25, description="How long to wait for the first new record")
    limit: int = Field(50, ge=1, le=1000)


@dataclass(frozen=True, slots=True)
class _Shown:
    lines: list[str]
    rows: list[list[Any]]
    cursor: str


async def logger_tail(reader: Reader, args: TailArguments, asked: Asked) -> Answer:
    """Return the newest records, or those that were stored since ``after``; waits for the first."""
    query = LogQuery(
        component=args.component,
        severity_min=read.severity(args.severity_min) if args.severity_min else None,
        text=args.text,
        attributes=args.attributes,
        query=await read_query(reader, args.query),
        limit=args.limit,
    )
    if args.after is None:
        await check_component(reader, args.component)
        page = await reader.tail_begin(query, MESSAGES)
        return _answer(page, _shown(page, query, args.max_tokens, newest=True), "newest records; after=cursor goes on")
    page = await _wait(reader, query, place_of(args.after, query), args.wait_s, asked)
    return _answer(page, _shown(page, query, args.max_tokens, newest=False), "records stored since")


async def _wait(reader: Reader, query: LogQuery, place: TailPlace, wait_s: float, asked: Asked) -> TailPage[LogNode]:
    """Look until something is new, or the time is over; no connection is held between two looks."""
    began = told = time.monotonic()
    while True:
        page = await reader.tail_look(query, place, MESSAGES)
        waited = time.monotonic() - began
        if page.records or waited >= wait_s:
            return page
        place = page.place
        if asked.progress is not None and time.monotonic() - told >= _PROGRESS_S:
            told = time.monotonic()
            await asked.progress(min(waited, wait_s), wait_s, "waiting for new log records")
        await asyncio.sleep(min(POLL_S, wait_s - waited))


def _shown(page: TailPage[LogNode], query: LogQuery, max_tokens: int, *, newest: bool) -> _Shown:
    """Return what fits: of the newest records the newest, of what is new the first."""
    nodes = page.records[::-1] if newest else page.records
    cursor = cursor_of(page.place, query)
    rows = [message_row(node) for node in nodes]
    reserve = _ENVELOPE_TOKENS + 2 * len(cursor) // render.CHARS_A_TOKEN
    lines = render.fit([render.message_line(n) for n in nodes], max_tokens, also=rows, reserve=reserve)
    rows = rows[: len(lines)]
    if newest:
        return _Shown(lines[::-1], rows[::-1], cursor)
    return _Shown(lines, rows, cursor_of(page.places[len(lines) - 1], query) if lines else cursor)


def _answer(page: TailPage[LogNode], shown: _Shown, what: str) -> Answer:
    out = len(page.records) - len(shown.lines)
    more = f"; {out} more wait: go on at once" if out and what.startswith("records") else ""
    summary = f"{len(shown.lines)} {what}{more}"
    hints = (
        ["a transaction that stores records has run for long; what ended after it waits for it"] if page.waiting else []
    )
    fenced = [render.FENCE, *shown.lines, render.FENCE_END] if shown.lines else []
    data = {
        "summary": summary,
        "columns": list(COLUMNS),
        "rows": shown.rows,
        "returned": len(shown.rows),
        "left_out": out,
        "cursor": shown.cursor,
        "hints": hints,
        "untrusted_data": True,
    }
    return Answer("\n".join([summary, f"cursor={shown.cursor}", *hints, *fenced]), data)


def message_row(node: LogNode) -> list[Any]:
    """Return a record as a row of COLUMNS."""
    return [
        node.id,
        render.time_of(node.time_ns),
        render.severity_of(node),
        render.clean(node.component, 120),
        render.said(node),
        node.trace_id,
        node.span_id,
    ]


def line_of(row: list[Any]) -> str:
    """Return a row of COLUMNS as one line."""
    where = "".join(f" {name}={value}" for name, value in zip(("trace", "span"), row[5:], strict=True) if value)
    return " ".join(str(value) for value in row[:5]) + where
