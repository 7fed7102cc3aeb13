"""Which log records: the arguments that every tool over log records has, and the question they make."""

from typing import ClassVar

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools.answers import HOUR_NS, Arguments, Asked, Attributes, Bounds, Window, bounds_of, check_component
from mcp_tools.language import LOGS_QUERY, read_query
from storage.filters import LogQuery
from storage.reader import Reader


class LogWords(Arguments):
    """Arguments that choose log records by what they are; all that are given must hold."""

    # query= says the same; an agent pays for every argument it reads.
    unlisted: ClassVar[frozenset[str]] = frozenset({"attributes"})

    severity_min: str | None = Field(None, description="trace, debug, info, warn, error, fatal")
    text: str | None = Field(None, min_length=1, description="Part of the body, any case")
    query: str | None = Field(None, description=LOGS_QUERY)
    attributes: Attributes = Field(default_factory=dict, description="Equal attributes of record or resource")


class LogFilters(LogWords, Window):
    """Arguments that choose log records of a window."""


async def log_question(
    reader: Reader, args: LogFilters, asked: Asked, *, default_ns: int | None = HOUR_NS
) -> tuple[LogQuery, Bounds]:
    """Return the question and its window. Raises UserInputError."""
    await check_component(reader, args.component)
    bounds = bounds_of(args.since, args.until, asked.now_ns, default_ns=default_ns)
    query = LogQuery(
        component=args.component,
        severity_min=read.severity(args.severity_min) if args.severity_min else None,
        text=args.text,
        attributes=args.attributes,
        query=await read_query(reader, args.query),
        since_ns=bounds.since_ns,
        until_ns=bounds.until_ns,
    )
    return query, bounds
