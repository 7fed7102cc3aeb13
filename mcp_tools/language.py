"""The query language at the doors: ``query=`` -> what the store is asked, with errors that teach. docs/query.md."""

from mcp_tools.answers import check_component
from mcp_tools.errors import UserInputError
from storage.query.errors import QueryError
from storage.query.fields import Signal
from storage.query.reading import parse
from storage.query.tree import And, Field, Is, Node
from storage.reader import Reader

LOGS_QUERY = 'level:>=warn "timed out" -health @http.status_code:>=500'
SPANS_QUERY = 'Of its spans: component:shop name:"GET /pay" status:error duration:>100ms @http.route:/pay'


def expression(text: str | None, signal: Signal = "logs") -> Node | None:
    """Return the tree of a query, None of none. Raises UserInputError, which points at what is wrong."""
    if text is None or not text.strip():
        return None
    try:
        return parse(text, signal)
    except QueryError as error:
        raise UserInputError("INVALID_QUERY", str(error)) from error


async def read_query(reader: Reader, text: str | None, signal: Signal = "logs") -> Node | None:
    """Return ``expression``; raises UserInputError as well for a component that it demands and nobody ever saw."""
    node = expression(text, signal)
    for component in _demanded(node) if node is not None else ():
        await check_component(reader, component)
    return node


def _demanded(node: Node) -> list[str]:
    """Return the components that every record that is found must have."""
    if isinstance(node, Field) and node.name == "component" and isinstance(node.test, Is):
        return [node.test.text]
    if isinstance(node, And):
        return [name for operand in node.operands for name in _demanded(operand)]
    return []
