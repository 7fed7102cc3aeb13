"""Nothing was found: where else there is something, and which attribute was perhaps meant."""

import contextlib

from mcp_tools import render
from mcp_tools.errors import did_you_mean
from storage.errors import QueryTimeout
from storage.filters import LogQuery
from storage.query.tree import And, Attribute, Node
from storage.reader import Reader
from storage.reading.signals import Selection

# To suggest a name, so many of the newest records are looked at.
_ROWS_FOR_NAMES = 1_000


async def hints_for_nothing(reader: Reader, query: LogQuery) -> list[str]:
    """Return where the nearest records are that match but for the window, and names for attributes nothing has."""
    found = []
    for look in (_where_else, _which_attribute):
        with contextlib.suppress(QueryTimeout):  # a courtesy; the empty answer itself stands
            found += await look(reader, query)
    return found


async def _where_else(reader: Reader, query: LogQuery) -> list[str]:
    try:
        before, after = await reader.nearest_data(query)
    except QueryTimeout:
        return ["whether anything matches outside of this window would take long to find; widen the window to know"]
    if before is None and after is None:
        return ["nothing matches outside of this window either"] if query.since_ns is not None else []
    near = [f"last before it at {render.time_of(before)}"] if before else []
    near += [f"first after it at {render.time_of(after)}"] if after else []
    return [f"nothing in this window; the nearest that matches: {', '.join(near)}"]


async def _which_attribute(reader: Reader, query: LogQuery) -> list[str]:
    """Return a hint for each attribute that is asked for and that no record of the component has."""
    asked = [*query.attributes, *(_demanded(query.query) if query.query is not None else ())]
    if not asked:
        return []
    of_component = LogQuery(component=query.component)
    _, values = await reader.field_values(
        Selection(signal="logs", query=of_component), rows_max=_ROWS_FOR_NAMES, values_max=1
    )
    known = sorted({v.key for v in values if v.place != "field"})
    return [
        f'no recent record has the attribute "{render.clean(name, 60)}".{did_you_mean(name, known)}'
        for name in asked
        if name not in known
    ]


def _demanded(node: Node) -> list[str]:
    """Return the attributes that every record that is found must have."""
    if isinstance(node, Attribute):
        return [node.key]
    return [name for operand in node.operands for name in _demanded(operand)] if isinstance(node, And) else []
