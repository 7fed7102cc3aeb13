"""PURE: the parameters of a log view -> the question to the store; the same words as everywhere else."""

from dataclasses import dataclass

from mcp_tools import arguments as read
from mcp_tools.answers import HOUR_NS, bounds_of
from mcp_tools.errors import UserInputError
from mcp_tools.language import expression
from mcp_tools.page.visit import Visit
from storage.filters import LogQuery

PAGE_RECORDS = 100
_LIMIT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, without a place in the answer; the window as the page draws it, [since, until) in ns."""

    query: LogQuery
    since_ns: int
    until_ns: int


def question(visit: Visit) -> Question:
    """Return what the URL asks. Raises UserInputError."""
    given = visit.param
    trace_id, span_id, severity = given("trace_id"), given("span_id"), given("level")
    bounds = bounds_of(given("since"), given("until"), visit.now_ns)
    until_ns = bounds.until_ns if given("until") else visit.now_ns
    since_ns = bounds.since_ns if bounds.since_ns is not None else until_ns - HOUR_NS
    if since_ns >= until_ns:
        raise UserInputError("EMPTY_WINDOW", f"since={given('since')!r} is not before now")
    everywhere = trace_id is not None and not given("since") and not given("until")
    order = given("order") or "newest"
    if order not in {"newest", "oldest"}:
        raise UserInputError("INVALID_ARGUMENT", f"order={order[:40]!r}; newest or oldest")
    query = LogQuery(
        component=given("component"),
        trace_id=read.hex_id(trace_id, "trace_id", 32) if trace_id else None,
        span_id=read.hex_id(span_id, "span_id", 16) if span_id else None,
        severity_min=read.severity(severity) if severity else None,
        query=expression(given("q")),
        since_ns=None if everywhere else since_ns,
        until_ns=bounds.until_ns if given("until") else None,
        order="oldest" if order == "oldest" else "newest",
        limit=_limit(given("limit")),
    )
    return Question(query, since_ns, until_ns)


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_RECORDS
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _LIMIT_MAX):  # noqa: PLR2004
        raise UserInputError("INVALID_ARGUMENT", f"limit={text[:20]!r}; 1 to {_LIMIT_MAX}")
    return int(text)
