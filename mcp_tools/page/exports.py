"""The records of a log view as files: JSON lines and CSV, page by page, however many there are up to a bound."""

import csv as csv_format
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mcp_tools.page.question import question
from mcp_tools.page.records import data_of
from mcp_tools.page.session import Sessions
from mcp_tools.page.shell import twin
from mcp_tools.page.show import value
from mcp_tools.page.visit import Visit
from storage.views import LogEntry

RECORDS_MAX = 100_000
"""Records of one file; `otel-ingest export` has no such bound."""
_PAGE = 1_000
_COLUMNS = (
    "time", "severity", "component", "body", "trace_id", "span_id", "event_name", "attributes", "resource", "id",
)  # fmt: skip
# What a spreadsheet takes for a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


async def json_lines(visit: Visit, request: Request, sessions: Sessions) -> Response:
    """Return the records, one JSON object a line. Raises UserInputError."""
    del request, sessions
    return await _file(visit, "logs.jsonl", "application/x-ndjson", b"", lambda entry: twin(data_of(entry)) + b"\n")


async def csv(visit: Visit, request: Request, sessions: Sessions) -> Response:
    """Return the records as CSV; a cell that a spreadsheet would compute begins with an apostrophe."""
    del request, sessions
    return await _file(visit, "logs.csv", "text/csv", csv_line(_COLUMNS), _csv_record)


def csv_line(cells: Any) -> bytes:
    """Return one line of CSV, every cell quoted and none a formula."""
    line = io.StringIO()
    guarded = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
    csv_format.writer(line, quoting=csv_format.QUOTE_ALL).writerow(guarded)
    return line.getvalue().encode("utf-8", "backslashreplace")


def _csv_record(entry: LogEntry) -> bytes:
    data = data_of(entry)
    return csv_line("" if data[name] is None else value(data[name]) for name in _COLUMNS)


async def _file(visit: Visit, name: str, media_type: str, head: bytes, line: Callable[[LogEntry], bytes]) -> Response:
    query = replace(question(visit).query, limit=_PAGE)
    first = await visit.reader.find_logs(query)

    async def content() -> AsyncIterator[bytes]:
        yield head
        page, sent = first, 0
        while True:
            yield b"".join(line(entry) for entry in page.items)
            sent += len(page.items)
            if page.next_cursor is None or sent >= RECORDS_MAX:
                return
            page = await visit.reader.find_logs(replace(query, cursor=page.next_cursor))

    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content(), headers=headers, media_type=media_type)
