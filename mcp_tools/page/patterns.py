"""Patterns: messages by their templates, with what is new and what is gone since the window before."""

from typing import Any

from mcp_tools.errors import UserInputError
from mcp_tools.page.visit import Shown, Visit

_TOKENS, _PATTERNS = 20_000, 300


async def view(visit: Visit) -> Shown:
    """Return the patterns of a question's records."""
    given: dict[str, Any] = {
        "query": visit.param("q"),
        "component": visit.param("component"),
        "severity_min": visit.param("level"),
        "since": visit.param("since") or (None if visit.param("until") else "1h"),
        "until": visit.param("until"),
        "compare_to": "none" if visit.param("compare") == "none" else "previous",
        "limit": _PATTERNS,
        "max_tokens": _TOKENS,
    }
    more = {"compared": given["compare_to"] != "none"}
    try:
        data = (await visit.call("logger_patterns", {k: v for k, v in given.items() if v is not None})).data
    except UserInputError as error:
        return Shown("patterns.html", "Patterns", {"patterns": [], "summary": "", "hints": []}, more, error)
    return Shown("patterns.html", "Patterns", data, more)
