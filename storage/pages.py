"""PURE: what an export asks for and is given: rows as decode made them, with the resources and scopes they name."""

from dataclasses import dataclass, field
from datetime import datetime

from storage.columns import TelemetryTable
from storage.rows import ResourceRow, Row, ScopeRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportQuery:
    """Which records: every condition that is set must hold. Times are ns since 1970, [since, until)."""

    component: str | None = None
    trace_id: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(slots=True)
class ExportPage:
    """Some rows in the order of time, and every resource and scope they name, by id. ``last`` is where it ends."""

    table: TelemetryTable
    rows: list[Row] = field(default_factory=list)
    resources: dict[bytes, ResourceRow] = field(default_factory=dict)
    scopes: dict[bytes, ScopeRow] = field(default_factory=dict)
    last: tuple[datetime, int] | None = None
