"""What flows out: answers of the store, plain and frozen. Ids are lower-case hex, times nanoseconds since 1970."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One log record as it is shown. ``time_ns``: effective time; ``id``: unique within the store."""

    id: int
    time_ns: int
    component: str
    severity_number: int
    severity_text: str
    body: str | None
    trace_id: str | None
    span_id: str | None
    event_name: str
    attributes: JsonObject
    resource: JsonObject
    scope_name: str
    scope_version: str = ""
    observed_time_ns: int = 0
    flags: int = 0
    dropped_attributes_count: int = 0
    body_is_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanNode:
    """What the tree of a trace needs of a span. ``duration_ns`` is 0 where the end is missing or before the start.

    ``status``: unset, ok or error.
    """

    id: int
    time_ns: int
    duration_ns: int
    component: str
    name: str
    kind: str
    status: str
    status_message: str
    span_id: str | None
    parent_span_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEntry(SpanNode):
    """One whole span."""

    end_ns: int
    trace_id: str | None
    trace_state: str
    attributes: JsonObject
    resource: JsonObject
    scope_name: str
    scope_version: str = ""
    flags: int = 0
    dropped_attributes_count: int = 0
    dropped_events_count: int = 0
    dropped_links_count: int = 0
    events: list[JsonObject] = field(default_factory=list)
    links: list[JsonObject] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNode:
    """What the tree of a trace needs of a log record. ``body`` is its beginning, ``body_chars`` its whole length."""

    id: int
    time_ns: int
    component: str
    severity_number: int
    severity_text: str
    body: str
    body_chars: int
    span_id: str | None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOutline:
    """The spans and log records of a trace, without what only one of them in full needs.

    ``*_left_out`` count what the limits of the read cut: roots, failed spans and errors are the last to go.
    """

    trace_id: str
    spans: list[SpanNode]
    logs: list[LogNode]
    spans_left_out: int = 0
    logs_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """One trace in a search result."""

    trace_id: str
    root_component: str
    root_name: str
    start_ns: int
    duration_ns: int
    span_count: int
    error_count: int
    components: list[str]
    first_error: str | None = None
    error_span: str | None = None
    """Component and name of the first span that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStats:
    """What one component did in a window. ``by_severity`` maps TRACE … FATAL, UNSET to counts of log records."""

    component: str
    by_severity: dict[str, int]
    log_count: int
    span_count: int
    error_span_count: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCount:
    """How many log records fall into one group and interval."""

    group: dict[str, str]
    start_ns: int | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogCounts(Sequence[LogCount]):
    """Counts as columns of one length, read as ``LogCount`` each: a chart of weeks by minutes has tens of thousands.

    ``group`` holds places in ``groups``.
    """

    groups: list[dict[str, str]]
    group: list[int]
    start_ns: list[int | None]
    counts: list[int]

    def __len__(self) -> int:
        """Return how many counts there are."""
        return len(self.group)

    @overload
    def __getitem__(self, index: int) -> LogCount: ...
    @overload
    def __getitem__(self, index: slice) -> list[LogCount]: ...
    def __getitem__(self, index: int | slice) -> LogCount | list[LogCount]:
        """Return one of them, or some."""
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        return LogCount(group=self.groups[self.group[index]], start_ns=self.start_ns[index], count=self.counts[index])

    def __eq__(self, other: object) -> bool:
        """Whether they hold the same counts in the same order."""
        return isinstance(other, LogCounts) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeTrace:
    """A trace with every field, in order of time; ``*_left_out`` count what the limits of the read cut."""

    trace_id: str
    spans: list[SpanEntry]
    logs: list[LogEntry]
    spans_left_out: int = 0
    logs_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCount:
    """How many log records of a component and a severity there are; ``bin``: number of the bin of time, from 0."""

    component: str
    severity_number: int
    bin: int | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A name that a component gives its spans, and of which kind they are."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpans:
    """How many spans of a trace are of one component, and how many of those failed."""

    component: str
    spans: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNumbers:
    """What a component served in a window: requests, how many failed, and how long they took (ns)."""

    component: str
    requests: int
    errors: int
    p50_ns: float
    p95_ns: float
    p99_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How often one component called another."""

    parent: str
    child: str
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
    cold_rows: dict[str, int] = field(default_factory=dict)
    """Records in cold files, which are among ``rows``."""
    cold_bytes: dict[str, int] = field(default_factory=dict)
    """Bytes of cold files, which are not in PostgreSQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """How far a search came that would have taken too long; ``about`` is PostgreSQL's estimate, from the cursor on."""

    searched: int
    about: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page. ``matched`` counts all that match, the page included; exact unless ``matched_is_lower_bound``."""

    items: list[T]
    matched: int
    matched_is_lower_bound: bool
    next_cursor: str | None
    stopped: Stopped | None = None
    """Set where the search ended before the limit and before its window; the cursor goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelOverride:
    """A level that is in force for the loggers of a component until ``expires_at_ns``; ``logger`` * is every one."""

    id: int
    component: str
    logger: str
    level: str
    reason: str
    set_by: str
    set_at_ns: int
    expires_at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """A process that takes its levels from here: what it said of itself, and the configuration it last reported.

    ``config_status``: unset, applied, applying or failed. ``effective``: what it says is in force (docs/opamp.md).
    """

    instance_uid: str
    component: str
    description: JsonObject
    last_seen_ns: int
    config_hash: bytes
    config_status: str
    config_error: str
    effective: list[JsonObject] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One call that changed something, or was refused to."""

    id: int
    at_ns: int
    caller: str
    role: str
    action: str
    arguments: JsonObject
    outcome: str


@dataclass(frozen=True, slots=True)
class Spooled:
    """What receivers acknowledged and keep in their spools, because PostgreSQL is or was away.

    ``oldest_s``: age in seconds of the oldest request; ``state``: what happens to it, in words.
    """

    requests: int
    records: int
    bytes: int
    set_aside_bytes: int
    oldest_s: float
    state: str

    def __str__(self) -> str:
        """Return one line for people."""
        aside = f"; {self.set_aside_bytes:,} bytes set aside as damaged" if self.set_aside_bytes else ""
        if not self.requests:
            return f"spool: empty{aside}"
        held = f"{self.requests:,} requests, {self.records:,} records, oldest {self.oldest_s:.0f} s"
        return f"spool: {held}, {self.state}{aside}"
