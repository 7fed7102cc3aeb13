"""The table of tools: the functions (reader, arguments) -> answer that MCP, the JSON API and the terminal all call."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp_tools.answers import Answer, Arguments, Asked
from mcp_tools.clearing import ClearArguments, logger_clear
from mcp_tools.diff import DiffArguments, logger_diff
from mcp_tools.fields import FieldsArguments, logger_fields
from mcp_tools.levels import GetLevelsArguments, SetLevelArguments, logger_get_levels, logger_set_level
from mcp_tools.logs import QueryArguments, logger_query
from mcp_tools.overview import OverviewArguments, logger_overview
from mcp_tools.patterns import PatternsArguments, logger_patterns
from mcp_tools.retention import (
    RetentionArguments,
    SetRetentionArguments,
    logger_retention,
    logger_set_retention,
)
from mcp_tools.sql import SqlArguments, logger_sql
from mcp_tools.stats import StatsArguments, logger_stats
from mcp_tools.tail import TailArguments, logger_tail
from mcp_tools.trace_search import SearchTracesArguments, logger_search_traces
from mcp_tools.traces import TraceArguments, logger_trace
from storage.reader import Reader
from storage.tokens import allows

Function = Callable[[Reader, Any, Asked], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: its arguments, its function, the role it needs, and what an agent reads about it."""

    arguments: type[Arguments]
    function: Function
    title: str
    description: str
    role: str = "read"
    destructive: bool = False
    also: tuple[str, ...] = ()
    """Other roles that may call it."""
    optional: bool = False
    """Offered where it was switched on; each call is in the audit log."""

    def open_to(self, role: str) -> bool:
        """Whether a caller of ``role`` may call it."""
        return any(allows(role, needed) for needed in (self.role, *self.also))


TOOLS: dict[str, Tool] = {
    "logger_overview": Tool(
        OverviewArguments,
        logger_overview,
        "Overview",
        "What is there: each component with its log counts by severity, spans and errors in a window, how fresh the "
        "data is and how far back it goes. Start here.",
    ),
    "logger_query": Tool(
        QueryArguments,
        logger_query,
        "Log records",
        "Log records by component, trace, span, least severity, text and attributes, newest first, one line each; "
        "id=… shows one record in full. next_cursor continues without gap or repeat.",
    ),
    "logger_trace": Tool(
        TraceArguments,
        logger_trace,
        "One trace",
        "One whole request by its trace id: first a summary (where it failed, what it waited for, the tree with equal "
        "calls folded as ×N), then what you need of it by view, focus_span or span_ids. What is left out is counted "
        "where it would stand.",
    ),
    "logger_search_traces": Tool(
        SearchTracesArguments,
        logger_search_traces,
        "Search traces",
        "Traces with a span of a component, name, status, duration or attributes; newest, slowest, or those "
        "with errors; each with its root, span count and first error.",
    ),
    "logger_stats": Tool(
        StatsArguments,
        logger_stats,
        "Numbers",
        "Exact numbers of log records, spans or metric points: count, rate, percentiles, sums, distinct values; by up "
        "to three fields or attribute keys and by time. What is not shown is one row, so that sums are right.",
    ),
    "logger_patterns": Tool(
        PatternsArguments,
        logger_patterns,
        "Patterns",
        "What the log messages say, by template: count, share, trend, a sample id. compare_to finds the ones that are "
        "new, gone or shifted against another window: what changed after a deploy is mostly here.",
    ),
    "logger_diff": Tool(
        DiffArguments,
        logger_diff,
        "Differences",
        "Two traces: calls that came, went, fail, are slower, by path. Two windows: fields, attributes and message "
        "patterns whose share changed. The largest difference first.",
    ),
    "logger_fields": Tool(
        FieldsArguments,
        logger_fields,
        "Fields and values",
        "Which fields and attributes there are, of what type, on how many of the records, with their commonest values; "
        "with key=… the exact counts of each value of one. Ask before filtering by an attribute.",
    ),
    "logger_sql": Tool(
        SqlArguments,
        logger_sql,
        "SQL",
        "Last resort, for what no other tool answers: one SELECT (PostgreSQL) over the views otel_logs, otel_spans, "
        "otel_services, otel_service_red, otel_service_edges. Filter by time.",
        optional=True,
    ),
    "logger_tail": Tool(
        TailArguments,
        logger_tail,
        "Follow",
        "The newest log records and a cursor; with after=cursor what was stored since, each record once and none "
        "missed, waiting up to wait_s for the first. Reproduce something, then ask what it logged.",
    ),
    "logger_get_levels": Tool(
        GetLevelsArguments,
        logger_get_levels,
        "Levels in force",
        "Log levels that were raised for a time: for which loggers, until when, by whom and why, and which running "
        "processes have them.",
        also=("control",),  # who sets a level sees what is in force, and ends it
    ),
    "logger_set_level": Tool(
        SetLevelArguments,
        logger_set_level,
        "Set a level",
        "Raise or lower the level of a component's loggers in all of its running processes, for ttl; it falls back by "
        "itself. Answers how many processes applied it.",
        role="control",
    ),
    "logger_retention": Tool(
        RetentionArguments,
        logger_retention,
        "Retention",
        "How long records are kept, by which rules, how much there is of each signal since when, and what goes next.",
    ),
    "logger_set_retention": Tool(
        SetRetentionArguments,
        logger_set_retention,
        "Set retention",
        "Keep a signal, or logs of a component or severity, for so long. Where records would go at once the first call "
        "only previews; confirm does it.",
        role="admin",
        destructive=True,
    ),
    "logger_clear": Tool(
        ClearArguments,
        logger_clear,
        "Delete records",
        "Delete records for good, in two calls: the first counts exactly what would go and returns confirm, or asks "
        "the user; the second with the same arguments and confirm, within 5 minutes, deletes just that. "
        "A person decides.",
        role="admin",
        destructive=True,
    ),
}
