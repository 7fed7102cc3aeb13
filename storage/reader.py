"""Questions -> answers. Every statement has the time limit of its engine and a bound on what it returns."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Select, and_, func, literal, select, text, tuple_
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import cursor as cursors
from storage import traces
from storage.dberrors import translate
from storage.errors import PermanentStoreError
from storage.filters import LogQuery, TraceQuery, all_of, log_conditions, timestamp
from storage.mapping import log_columns, log_entry, ns_of, severity_name, span_columns, span_entry
from storage.models import TABLES, log_records, resources, scopes, spans
from storage.views import ComponentStats, LogEntry, Page, Spooled, Trace, TraceSummary

# Counting goes this far; past it an answer says "at least".
COUNT_MAX = 10_000
_UNFIT = "the question holds a value PostgreSQL cannot hold: NUL, half a surrogate pair, NaN, or a number too large"
_LOGS = log_records.outerjoin(resources, resources.c.id == log_records.c.resource_id).outerjoin(
    scopes, scopes.c.id == log_records.c.scope_id
)
_SPANS = spans.outerjoin(resources, resources.c.id == spans.c.resource_id).outerjoin(
    scopes, scopes.c.id == spans.c.scope_id
)
_GROUPS = {
    "component": log_records.c.component,
    "severity": log_records.c.severity_number,
    "event_name": log_records.c.event_name,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCount:
    """How many log records fall into one group and interval."""

    group: dict[str, str]
    start_ns: int | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What the store is and holds. Rows are PostgreSQL's estimates; times ns since 1970, None: nothing stored."""

    postgresql_version: str
    rows: dict[str, int]
    bytes: dict[str, int]
    partitions: dict[str, int]
    oldest_ns: dict[str, int | None]
    newest_ns: dict[str, int | None]
    rejected_last_day: int = 0
    """Records of the last 24 hours that were rejected and kept (``storage.rejected``)."""


class Reader:
    """Reads the store through ``engine`` (``storage.engine.read_engine``). All methods raise StoreError."""

    def __init__(self, engine: AsyncEngine, spooled: Callable[[], Spooled | None] = lambda: None) -> None:
        self._engine = engine
        self.spooled = spooled
        """Tells what receivers acknowledged and the store does not have yet; None where that is not known."""

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except UnicodeEncodeError as error:
            raise PermanentStoreError(_UNFIT) from error
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, DataError):
                raise PermanentStoreError(_UNFIT) from error
            raise translate(error, reading=True) from error

    async def find_logs(self, query: LogQuery) -> Page[LogEntry]:
        """Return one page of log records. Raises InvalidCursor."""
        conditions = log_conditions(query)
        statement = select(*log_columns()).select_from(_LOGS).where(all_of(conditions + self._after(query)))
        key = (log_records.c.time, log_records.c.id)
        statement = statement.order_by(*(c.desc() for c in key) if query.order == "newest" else key)
        counted = select(literal(1)).select_from(_LOGS).where(all_of(conditions))
        async with self._connection() as connection:
            rows = (await connection.execute(statement.limit(query.limit + 1))).all()
            matched = await _count(connection, counted)
        page = rows[: query.limit]
        more = len(rows) > query.limit
        place = [_us(page[-1].time), page[-1].id] if more else None
        return Page(
            items=[log_entry(row) for row in page],
            matched=min(matched, COUNT_MAX),
            matched_is_lower_bound=matched > COUNT_MAX,
            next_cursor=cursors.encode(place, query.canonical()) if place else None,
        )

    def _after(self, query: LogQuery) -> list[Any]:
        if query.cursor is None:
            return []
        time_us, identifier = cursors.decode(query.cursor, query.canonical(), (int, int))
        place = tuple_(literal(timestamp(time_us)), literal(identifier))
        key = tuple_(log_records.c.time, log_records.c.id)
        return [key < place if query.order == "newest" else key > place]

    async def get_log(self, identifier: int) -> LogEntry | None:
        """Return one log record by its id, or None."""
        statement = select(*log_columns()).select_from(_LOGS).where(log_records.c.id == identifier)
        async with self._connection() as connection:
            row = (await connection.execute(statement.limit(1))).first()
        return log_entry(row) if row is not None else None

    async def get_trace(self, trace_id: str, spans_max: int = 5_000, logs_max: int = 5_000) -> Trace | None:
        """Return all that is stored of a trace, oldest first; None when nothing is."""
        key = UUID(trace_id)
        span_rows = select(*span_columns()).select_from(_SPANS).where(spans.c.trace_id == key)
        log_rows = select(*log_columns()).select_from(_LOGS).where(log_records.c.trace_id == key)
        async with self._connection() as connection:
            found = (await connection.execute(span_rows.order_by(spans.c.time, spans.c.id).limit(spans_max))).all()
            logs = (
                await connection.execute(log_rows.order_by(log_records.c.time, log_records.c.id).limit(logs_max))
            ).all()
            spans_all, logs_all = len(found), len(logs)
            if spans_all == spans_max or logs_all == logs_max:
                spans_all = await _count_all(connection, spans, key)
                logs_all = await _count_all(connection, log_records, key)
        if not found and not logs:
            return None
        return Trace(
            trace_id=trace_id,
            spans=sorted((span_entry(row) for row in found), key=lambda s: s.time_ns),
            logs=sorted((log_entry(row) for row in logs), key=lambda entry: (entry.time_ns, entry.id)),
            spans_left_out=spans_all - len(found),
            logs_left_out=logs_all - len(logs),
        )

    async def find_traces(self, query: TraceQuery) -> Page[TraceSummary]:
        """Return one page of trace summaries. Raises InvalidCursor."""
        grouped, place = traces.matching(_SPANS, query)
        async with self._connection() as connection:
            rows = (await connection.execute(place.limit(query.limit + 1))).all()
            matched = await _count(connection, grouped)
            page = rows[: query.limit]
            summaries = await traces.summaries(connection, [row.trace_id for row in page])
        more = len(rows) > query.limit
        cursor = (
            cursors.encode([_sort_value(page[-1].sort), page[-1].trace_id.hex], query.canonical()) if more else None
        )
        return Page(
            items=[summaries[row.trace_id] for row in page],
            matched=min(matched, COUNT_MAX),
            matched_is_lower_bound=matched > COUNT_MAX,
            next_cursor=cursor,
        )

    async def component_stats(self, since_ns: int, until_ns: int) -> list[ComponentStats]:
        """Return what each component logged and traced in [since, until), the busiest first."""
        logs = log_records.c
        seen: dict[str, dict[str, Any]] = {}
        window = and_(logs.time >= timestamp(since_ns // 1000), logs.time < timestamp(-(-until_ns // 1000)))
        by_severity = select(
            logs.component,
            logs.severity_number,
            func.count().label("n"),
            func.max(logs.time).label("last"),
        )
        table = spans.c
        in_window = and_(table.time >= timestamp(since_ns // 1000), table.time < timestamp(-(-until_ns // 1000)))
        errors = func.count().filter(table.status_code == 2)  # noqa: PLR2004 - Status.STATUS_CODE_ERROR
        by_span = select(
            table.component,
            func.count().label("n"),
            errors.label("errors"),
            func.max(table.time).label("last"),
        )
        async with self._connection() as connection:
            statement = by_severity.where(window).group_by(logs.component, logs.severity_number)
            for row in await connection.execute(statement):
                entry = seen.setdefault(row.component, {"by_severity": {}, "spans": 0, "errors": 0, "last": 0})
                name = severity_name(row.severity_number)
                entry["by_severity"][name] = entry["by_severity"].get(name, 0) + row.n
                entry["last"] = max(entry["last"], _us(row.last) * 1000)
            for row in await connection.execute(by_span.where(in_window).group_by(table.component)):
                entry = seen.setdefault(row.component, {"by_severity": {}, "spans": 0, "errors": 0, "last": 0})
                entry["spans"], entry["errors"] = row.n, row.errors
                entry["last"] = max(entry["last"], _us(row.last) * 1000)
        stats = [
            ComponentStats(
                component=component,
                by_severity=entry["by_severity"],
                log_count=sum(entry["by_severity"].values()),
                span_count=entry["spans"],
                error_span_count=entry["errors"],
                last_seen_ns=entry["last"],
            )
            for component, entry in seen.items()
        ]
        return sorted(stats, key=lambda s: (-s.log_count - s.span_count, s.component))

    async def log_counts(
        self,
        query: LogQuery,
        group_by: Sequence[Literal["component", "severity", "event_name"]] = (),
        interval_s: int | None = None,
        top: int = 200,
    ) -> list[LogCount]:
        """Return exact counts by group and bin of time, at most ``top`` of them, oldest and largest first."""
        # Labels of our own: a bare name in GROUP BY could as well be a column of resources.
        keys = [_GROUPS[name].label(f"by_{name}") for name in group_by]
        bins = []
        if interval_s is not None:
            width = func.make_interval(0, 0, 0, 0, 0, 0, interval_s)
            bins = [func.date_bin(width, log_records.c.time, timestamp(0)).label("bin_start")]
        count = func.count().label("n")
        statement = select(*bins, *keys, count).select_from(_LOGS).where(all_of(log_conditions(query)))
        labels = [k.name for k in [*bins, *keys]]
        if labels:
            statement = statement.group_by(*(text(name) for name in labels))
        statement = statement.order_by(*(text(b.name) for b in bins), count.desc()).limit(top)
        async with self._connection() as connection:
            rows = (await connection.execute(statement)).all()
        return [
            LogCount(
                group={n: _group_value(n, getattr(r, f"by_{n}")) for n in group_by},
                start_ns=_us(r.bin_start) * 1000 if bins else None,
                count=r.n,
            )
            for r in rows
        ]

    async def tail_logs(self, query: LogQuery, after_id: int) -> list[LogEntry]:
        """Return up to ``query.limit`` matching records stored after the id ``after_id``, in the order of storing.

        Ids are given out before COMMIT: a slow transaction's records can come below a higher id that was seen. Callers
        that must not miss them ask again from a little below what they saw, and drop the ids they know.
        """
        statement = (
            select(*log_columns())
            .select_from(_LOGS)
            .where(all_of([*log_conditions(query), log_records.c.id > after_id]))
        )
        async with self._connection() as connection:
            rows = (await connection.execute(statement.order_by(log_records.c.id).limit(query.limit))).all()
        return [log_entry(row) for row in rows]

    async def components(self) -> list[str]:
        """Return the names of all components ever seen."""
        statement = select(resources.c.component).distinct().order_by(resources.c.component).limit(COUNT_MAX)
        async with self._connection() as connection:
            return list((await connection.execute(statement)).scalars())

    async def nearest_data(self, query: LogQuery) -> tuple[int | None, int | None]:
        """Return the times of the last record before the window and the first one after it that match otherwise."""
        fields = {name: getattr(query, name) for name in query.__slots__} | {"cursor": None}
        early = LogQuery(**fields | {"since_ns": None, "until_ns": query.since_ns})
        late = LogQuery(**fields | {"since_ns": query.until_ns, "until_ns": None})
        column = log_records.c.time
        before = after = None
        async with self._connection() as connection:
            if query.since_ns is not None:
                statement = select(column).select_from(_LOGS).where(all_of(log_conditions(early)))
                before = (await connection.execute(statement.order_by(column.desc()).limit(1))).scalar_one_or_none()
            if query.until_ns is not None:
                statement = select(column).select_from(_LOGS).where(all_of(log_conditions(late)))
                after = (await connection.execute(statement.order_by(column).limit(1))).scalar_one_or_none()
        return (_us(before) * 1000 if before else None, _us(after) * 1000 if after else None)

    async def store_info(self) -> StoreInfo:
        """Return version, sizes and edges of the store."""
        sizes = text(
            "SELECT p.relname AS name, count(*) AS n, sum(greatest(c.reltuples, 0))::bigint AS rows, "
            "sum(pg_total_relation_size(c.oid))::bigint AS bytes FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent "
            "WHERE p.relkind = 'p' AND p.relname = ANY(:names) GROUP BY p.relname"
        )
        rows, size, partitions = {}, {}, {}
        oldest: dict[str, int | None] = {}
        newest: dict[str, int | None] = {}
        async with self._connection() as connection:
            version = (await connection.execute(text("SHOW server_version"))).scalar_one()
            for row in await connection.execute(sizes, {"names": list(TABLES)}):
                rows[row.name], size[row.name], partitions[row.name] = row.rows, row.bytes, row.n
            for name, table in TABLES.items():
                first = (await connection.execute(_edge(table.c.time))).scalar_one_or_none()
                last = (await connection.execute(_edge(table.c.time.desc(), table.c.time))).scalar_one_or_none()
                oldest[name] = _us(first) * 1000 if first else None
                newest[name] = _us(last) * 1000 if last else None
            recent = text("SELECT count(*) FROM rejected_records WHERE received_at > now() - interval '24 hours'")
            rejected = (await connection.execute(recent)).scalar_one()
        return StoreInfo(
            postgresql_version=str(version).split()[0],
            rows=rows,
            bytes=size,
            partitions=partitions,
            oldest_ns=oldest,
            newest_ns=newest,
            rejected_last_day=rejected,
        )

    async def ping(self) -> float:
        """Return how long an empty question takes, in seconds."""
        started = time.perf_counter()
        async with self._connection() as connection:
            await connection.execute(text("SELECT 1"))
        return time.perf_counter() - started


def _group_value(name: str, value: Any) -> str:
    return severity_name(value) if name == "severity" else str(value)


def _edge(order: Any, column: Any = None) -> Select[Any]:
    return select(order if column is None else column).order_by(order).limit(1)


async def _count(connection: AsyncConnection, matching: Select[Any]) -> int:
    """Return how many rows match, counted to one more than COUNT_MAX."""
    inner = matching.limit(COUNT_MAX + 1).subquery()
    return int((await connection.execute(select(func.count()).select_from(inner))).scalar_one())


async def _count_all(connection: AsyncConnection, table: Any, trace_id: UUID) -> int:
    statement = select(func.count()).select_from(table).where(table.c.trace_id == trace_id)
    return int((await connection.execute(statement)).scalar_one())


def _us(moment: Any) -> int:
    return ns_of(moment) // 1000


def _sort_value(value: Any) -> int:
    return value if isinstance(value, int) else _us(value)
