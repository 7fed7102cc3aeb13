"""PURE: cursors of the tools: a place in an answer, and the window its first page had.

A relative window ("the last hour") would be another question for the next page; so the cursor brings it along.
"""

from dataclasses import replace
from typing import TypeVar

from mcp_tools.errors import UserInputError
from storage import cursor as cursors
from storage.cursor import InvalidCursor
from storage.filters import LogQuery, TraceQuery

Query = TypeVar("Query", LogQuery, TraceQuery)


def resume(query: Query, cursor: str | None) -> Query:
    """Return ``query`` with the window and the place of ``cursor``; as it is without one.

    Raises UserInputError for a cursor that is damaged or was made with other filters.
    """
    if cursor is None:
        return query
    window, _, place = cursor.partition("~")
    try:
        since_ns, until_ns = cursors.decode(window, _question(query))
    except InvalidCursor as error:
        raise UserInputError("INVALID_CURSOR", str(error)) from error
    return replace(query, since_ns=since_ns, until_ns=until_ns, cursor=place)


def pack(place: str, query: Query) -> str:
    """Return the cursor that goes on at ``place`` (a cursor of the store) in the answer to ``query``."""
    return f"{cursors.encode([query.since_ns, query.until_ns], _question(query))}~{place}"


def _question(query: Query) -> str:
    """Return the question without its window, which a cursor holds itself."""
    return replace(query, since_ns=None, until_ns=None).canonical()
