"""Rows of any signal: logger_stats, logger_fields and logger_diff ask of log records, spans and metric points alike."""

from mcp_tools import arguments as read
from mcp_tools.answers import HOUR_NS, Asked, Bounds, bounds_of, check_component
from mcp_tools.errors import UserInputError, did_you_mean
from mcp_tools.language import read_query
from mcp_tools.log_filters import LogFilters
from storage.filters import LogQuery, TraceQuery
from storage.reader import Reader
from storage.reading.signals import Selection, Signal, fields_of

# To suggest a name, so many of the newest rows are looked at.
_ROWS_FOR_NAMES = 1_000


async def selection_of(
    reader: Reader, args: LogFilters, signal: Signal, name: str | None, asked: Asked
) -> tuple[Selection, Bounds]:
    """Return which rows are meant, and the window. Raises UserInputError."""
    await check_component(reader, args.component)
    bounds = bounds_of(args.since, args.until, asked.now_ns, default_ns=HOUR_NS)
    if signal != "logs" and (args.severity_min or args.text):
        raise UserInputError("INVALID_ARGUMENT", f"severity_min and text are of log records; signal={signal} has none")
    if signal == "metrics" and args.query:
        raise UserInputError("INVALID_ARGUMENT", "query is of logs and spans; of metrics give name and component")
    if signal == "logs" and name:
        raise UserInputError("INVALID_ARGUMENT", "name is of spans and metrics; log records have text and query")
    if signal == "spans":
        query: LogQuery | TraceQuery = TraceQuery(
            component=args.component,
            name=name,
            attributes=args.attributes,
            query=await read_query(reader, args.query, "spans"),
            since_ns=bounds.since_ns,
            until_ns=bounds.until_ns,
        )
    else:
        query = LogQuery(
            component=args.component,
            severity_min=read.severity(args.severity_min) if args.severity_min else None,
            text=args.text,
            attributes=args.attributes,
            query=await read_query(reader, args.query) if signal == "logs" else None,
            since_ns=bounds.since_ns,
            until_ns=bounds.until_ns,
        )
    return Selection(signal=signal, query=query, name=name), bounds


async def unknown_field(reader: Reader, selection: Selection, name: str) -> UserInputError:
    """Return the error for a field that no row has, with the nearest name that some have."""
    _, values = await reader.field_values(selection, rows_max=_ROWS_FOR_NAMES, values_max=1)
    known = sorted({v.key for v in values} | set(fields_of(selection.signal)))
    return UserInputError(
        "UNKNOWN_FIELD",
        f'no record that matches has the field "{name[:60]}".{did_you_mean(name, known)} '
        f"logger_fields(signal={selection.signal!r}) lists them.",
    )
