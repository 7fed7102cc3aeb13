"""The log view: records of a question, newest first, with what is counted of them."""

import asyncio
from dataclasses import replace
from typing import Any

from mcp_tools.errors import UserInputError
from mcp_tools.page.counts import counts
from mcp_tools.page.question import PAGE_RECORDS, Question, question
from mcp_tools.page.records import data_of
from mcp_tools.page.show import stamp
from mcp_tools.page.visit import Shown, Visit
from mcp_tools.paging import pack, resume
from storage.cursor import InvalidCursor
from storage.errors import QueryTimeout
from storage.views import LogEntry, Page

COUNTS_WAIT_S = 0.35
"""The page is sent without counts that take longer; it fetches them by itself."""


async def view(visit: Visit) -> Shown:
    """Return a page of log records, and their counts where these are quick."""
    try:
        asked = question(visit)
        counting = asyncio.create_task(counts(visit, asked))
        try:
            found, opened = await asyncio.gather(_records(visit, asked), _opened(visit))
            counted = await _within(counting, COUNTS_WAIT_S if visit.enough else None)
        finally:
            counting.cancel()
    except UserInputError as error:
        return Shown("logs.html", "Logs", _nothing(), _around(visit), error)
    return Shown("logs.html", "Logs", found | counted | {"record": opened}, _around(visit))


def _around(visit: Visit) -> dict[str, Any]:
    return {"tailing": visit.param("tail") is not None, "page_records": PAGE_RECORDS}


def _nothing() -> dict[str, Any]:
    return {
        "window": None, "records": [], "matched": 0, "at_least": False, "next_cursor": None, "record": None,
        "counts": None, "nearest": {}, "empty_store": False,
    }  # fmt: skip


async def _within(counting: "asyncio.Task[dict[str, Any]]", wait_s: float | None) -> dict[str, Any]:
    try:
        return await asyncio.wait_for(counting, wait_s)
    except TimeoutError:
        return {"counts": None}


async def _opened(visit: Visit) -> dict[str, Any] | None:
    """Return the record that is open in the list, if one is."""
    text = visit.param("record") or ""
    entry = await visit.reader.get_log(int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else None  # noqa: PLR2004
    return None if entry is None else data_of(entry)


async def _records(visit: Visit, asked: Question) -> dict[str, Any]:
    query = resume(asked.query, visit.param("cursor"))
    try:
        page = await visit.reader.find_logs(query)
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    except QueryTimeout as error:
        raise UserInputError("TIMEOUT", f"{error}; a shorter window or a component helps") from error
    nearest, empty = await _elsewhere(visit, asked, page)
    return {
        "window": {"since": stamp(asked.since_ns), "until": stamp(asked.until_ns)},
        "records": [data_of(entry) for entry in page.items],
        "matched": page.matched,
        "at_least": page.matched_is_lower_bound,
        "next_cursor": pack(page.next_cursor, replace(query, cursor=None)) if page.next_cursor else None,
        "nearest": nearest,
        "empty_store": empty,
    }


async def _elsewhere(visit: Visit, asked: Question, page: Page[LogEntry]) -> tuple[dict[str, str], bool]:
    """Return where the nearest records are when there are none here, and whether there are none at all."""
    if page.items:
        return {}, False
    if not await visit.reader.components():
        return {}, True
    try:
        before, after = await visit.reader.nearest_data(replace(asked.query, until_ns=asked.until_ns))
    except QueryTimeout:  # a courtesy; the empty answer itself stands
        return {}, False
    found = {"before": before, "after": after}
    return {name: stamp(time_ns) for name, time_ns in found.items() if time_ns}, False
