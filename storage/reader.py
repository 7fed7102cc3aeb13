"""Questions -> answers. Every statement has the time limit of its engine and a bound on what it returns."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.dberrors import translate
from storage.errors import PermanentStoreError
from storage.filters import LogQuery, TraceQuery
from storage.mapping import ns_of
from storage.models import TABLES
from storage.packing.connection import PackedConnection, reading_connection
from storage.packing.lookup import packed_state
from storage.reading import info, lines, logs, messages, services, stats, trace_parts, traces, whole
from storage.reading.aggregates import Aggregate, Aggregated, aggregate
from storage.reading.calls import calls
from storage.reading.fields import FieldValue, field_values
from storage.reading.signals import Selection
from storage.reading.tail import ReadAs, Record, TailPage, TailPlace, begin, look
from storage.reading.trace_parts import PartsQuery, Place
from storage.retention.planning import Held
from storage.retention.rules import Rule
from storage.retention.store import SetRule, held_of, rules_of
from storage.views import (
    Call,
    ComponentStats,
    LineCount,
    LogCounts,
    LogEntry,
    LogNode,
    Operation,
    Page,
    ServiceNumbers,
    ServiceSpans,
    SpanEntry,
    Spooled,
    StoreInfo,
    TraceOutline,
    TraceSummary,
    WholeTrace,
)

_UNFIT = "the question holds a value PostgreSQL cannot hold: NUL, half a surrogate pair, NaN, or a number too large"


class Reader:
    """Reads the store through ``engine`` (``storage.engine.read_engine``). All methods raise StoreError."""

    def __init__(self, engine: AsyncEngine, spooled: Callable[[], Spooled | None] = lambda: None) -> None:
        self._engine = engine
        self.spooled = spooled
        """Tells what receivers acknowledged and the store does not have yet; None where that is not known."""

    async def retention(self, now: datetime, rules: Sequence[Rule] | None = None) -> tuple[list[SetRule], list[Held]]:
        """Return the rules in force, and the partitions as they are to those, or to ``rules``."""
        async with self._connection() as connection:
            found = await rules_of(connection)
            known = [each.rule for each in found] if rules is None else rules
            return found, await held_of(connection, known, now)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PackedConnection]:
        try:
            async with reading_connection(self._engine) as connection:
                yield connection
        except UnicodeEncodeError as error:
            raise PermanentStoreError(_UNFIT) from error
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, DataError):
                raise PermanentStoreError(_UNFIT) from error
            raise translate(error, reading=True) from error

    async def find_logs(self, query: LogQuery) -> Page[LogEntry]:
        """Return one page of log records. Raises InvalidCursor."""
        async with self._connection() as connection:
            return await logs.find_logs(connection, query)

    async def find_messages(self, query: LogQuery) -> Page[LogNode]:
        """Return what up to ``query.limit`` log records say, and how many match in all. Raises InvalidCursor."""
        async with self._connection() as connection:
            return await messages.find_messages(connection, query)

    async def read_messages(self, query: LogQuery) -> list[LogNode]:
        """Return what up to ``query.limit`` log records say. Raises InvalidCursor."""
        async with self._connection() as connection:
            return await messages.read_messages(connection, query)

    async def read_lines(self, query: LogQuery) -> list[LogEntry]:
        """Return up to ``query.limit`` matching records in its order, without counting all that match."""
        async with self._connection() as connection:
            return await lines.read_lines(connection, query)

    async def line_counts(self, query: LogQuery, origin_ns: int = 0, width_ns: int | None = None) -> list[LineCount]:
        """Return how many match by component and severity; with ``width_ns`` by bins (start, end] of time too."""
        async with self._connection() as connection:
            return await lines.line_counts(connection, query, origin_ns, width_ns)

    async def get_log(self, identifier: int) -> LogEntry | None:
        """Return one log record by its id, or None."""
        async with self._connection() as connection:
            return await logs.get_log(connection, identifier)

    async def tail_begin(self, query: LogQuery, read: ReadAs[Record]) -> TailPage[Record]:
        """Return the newest records, oldest first, and the place from which all that is stored after them is new."""
        async with self._connection() as connection:
            return await begin(connection, query, read)

    async def tail_look(self, query: LogQuery, place: TailPlace, read: ReadAs[Record]) -> TailPage[Record]:
        """Return what was stored since ``place``, each record once, however late its transaction ended."""
        async with self._connection() as connection:
            return await look(connection, query, place, read)

    async def nearest_data(self, query: LogQuery) -> tuple[int | None, int | None]:
        """Return the times of the last record before the window and the first one after it that match otherwise.

        Raises QueryTimeout where that is not found quickly.
        """
        async with self._connection() as connection:
            return await logs.nearest_data(connection, query)

    async def trace_outline(self, trace_id: str, spans_max: int = 50_000, logs_max: int = 2_000) -> TraceOutline | None:
        """Return the shape of a trace and what its log records say, oldest first; None when nothing is stored of it."""
        async with self._connection() as connection:
            return await traces.trace_outline(connection, trace_id, spans_max, logs_max)

    async def trace_parts(self, query: PartsQuery) -> list[tuple[Place, SpanEntry | LogEntry]]:
        """Return whole spans and log records of a trace in the order of their places."""
        async with self._connection() as connection:
            return await trace_parts.trace_parts(connection, query)

    async def whole_traces(self, trace_ids: Sequence[str], spans_max: int, logs_max: int) -> list[WholeTrace]:
        """Return traces with every field of their spans and log records; the limits are of all of them together."""
        async with self._connection() as connection:
            return await whole.whole_traces(connection, trace_ids, spans_max, logs_max)

    async def find_traces(self, query: TraceQuery) -> Page[TraceSummary]:
        """Return one page of trace summaries. Raises InvalidCursor."""
        async with self._connection() as connection:
            return await traces.find_traces(connection, query)

    async def trace_ids(self, query: TraceQuery) -> list[str]:
        """Return the ids of one page of traces, for those who read them whole. Raises InvalidCursor."""
        async with self._connection() as connection:
            return await traces.trace_ids(connection, query)

    async def component_stats(self, since_ns: int, until_ns: int) -> list[ComponentStats]:
        """Return what each component logged and traced in [since, until), the busiest first."""
        async with self._connection() as connection:
            return await stats.component_stats(connection, since_ns, until_ns)

    async def log_counts(
        self,
        query: LogQuery,
        group_by: Sequence[Literal["component", "severity", "event_name"]] = (),
        interval_s: int | None = None,
        top: int = 200,
    ) -> LogCounts:
        """Return exact counts by group and bin of time, at most ``top`` of them, oldest and largest first."""
        async with self._connection() as connection:
            return await stats.log_counts(connection, query, group_by, interval_s, top)

    async def aggregate(self, ask: Aggregate) -> Aggregated:
        """Return exact aggregates of the largest groups, and of all others as one."""
        async with self._connection() as connection:
            return await aggregate(connection, ask)

    async def field_values(
        self, selection: Selection, *, rows_max: int = 5_000, values_max: int = 5, prefix: str = ""
    ) -> tuple[int, list[FieldValue]]:
        """Return how many rows were read (the newest), and the commonest values of each key of theirs."""
        async with self._connection() as connection:
            return await field_values(connection, selection, rows_max=rows_max, values_max=values_max, prefix=prefix)

    async def components(self) -> list[str]:
        """Return the names of all components ever seen."""
        async with self._connection() as connection:
            return await stats.components(connection)

    async def operations(self, component: str, kind: int | None = None) -> list[Operation]:
        """Return name and kind of a component's spans, each once, by name."""
        async with self._connection() as connection:
            return await services.operations(connection, component, kind)

    async def spans_by_service(self, trace_ids: Sequence[str]) -> dict[str, list[ServiceSpans]]:
        """Return, for each trace, how many spans each component has in it and how many of them failed."""
        async with self._connection() as connection:
            return await services.spans_by_service(connection, trace_ids)

    async def calls(self, since_ns: int, until_ns: int) -> list[Call]:
        """Return how often a component called another in [since, until)."""
        async with self._connection() as connection:
            return await calls(connection, since_ns, until_ns)

    async def service_numbers(self, since_ns: int, until_ns: int) -> list[ServiceNumbers]:
        """Return what each component served in [since, until): requests, failed ones, percentiles of their time."""
        async with self._connection() as connection:
            return await services.service_numbers(connection, since_ns, until_ns)

    async def versions(self) -> dict[str, list[str]]:
        """Return the versions each component named, the newest first."""
        async with self._connection() as connection:
            return await services.versions(connection)

    async def store_info(self) -> StoreInfo:
        """Return version, sizes and edges of the store."""
        async with self._connection() as connection:
            return await info.store_info(connection)

    async def packed_until(self) -> int | None:
        """Return the time (ns) of the newest record that is packed or cold, so that SQL does not see it; None: none."""
        async with self._connection() as connection:
            newest = (await packed_state(connection, TABLES)).newest
        return max((ns_of(moment) for moment in newest.values()), default=None)

    async def ping(self) -> float:
        """Return how long an empty question takes, in seconds."""
        started = time.perf_counter()
        async with self._connection() as connection:
            await connection.execute(text("SELECT 1"))
        return time.perf_counter() - started
