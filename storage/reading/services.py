"""Services as other tools ask for them: operations, spans of a trace by service, who calls whom."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Double, func, literal, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.filters import timestamp
from storage.mapping import kind_name
from storage.models import resources, spans
from storage.views import Call, Operation, ServiceNumbers, ServiceSpans

# Operations are those of a service's latest spans: names repeat, and reading every span would take minutes.
OPERATIONS_SPANS_MAX = 20_000
# Names are meant to be few; a service that puts ids into them must not make an answer of megabytes.
OPERATIONS_MAX = 2_000
# A caller's span may have begun this long before the one it calls.
PARENT_BEFORE_NS = 3_600 * 1_000_000_000
# A page of components; those beyond serve least.
SERVICES_MAX = 200
_ERROR = 2
_SERVING = (2, 5)  # SPAN_KIND_SERVER, SPAN_KIND_CONSUMER


async def operations(connection: AsyncConnection, component: str, kind: int | None = None) -> list[Operation]:
    """Return name and kind of a component's latest spans, each once, by name."""
    table = spans.c
    latest = select(table.name, table.kind).where(table.component == component)
    if kind is not None:
        latest = latest.where(table.kind == kind)
    inner = latest.order_by(table.time.desc()).limit(OPERATIONS_SPANS_MAX).subquery()
    names = select(inner.c.name, inner.c.kind).distinct().order_by(inner.c.name, inner.c.kind).limit(OPERATIONS_MAX)
    return [Operation(name=row.name, kind=kind_name(row.kind)) for row in await connection.execute(names)]


async def spans_by_service(connection: AsyncConnection, trace_ids: Sequence[str]) -> dict[str, list[ServiceSpans]]:
    """Return, for each trace, how many spans each component has in it and how many of them failed."""
    table = spans.c
    statement = (
        select(
            table.trace_id,
            table.component,
            func.count().label("n"),
            func.count().filter(table.status_code == _ERROR).label("errors"),
        )
        .where(table.trace_id.in_([UUID(i) for i in trace_ids]))
        .group_by(table.trace_id, table.component)
        .order_by(table.trace_id, table.component)
    )
    found: dict[str, list[ServiceSpans]] = {}
    for row in await connection.execute(statement) if trace_ids else ():
        found.setdefault(row.trace_id.hex, []).append(
            ServiceSpans(component=row.component, spans=row.n, errors=row.errors)
        )
    return found


async def calls(connection: AsyncConnection, since_ns: int, until_ns: int) -> list[Call]:
    """Return how often a component called another in [since, until): spans below a span of another component."""
    child, parent = spans.alias("child"), spans.alias("parent")
    window: list[Any] = [
        child.c.time >= timestamp(since_ns // 1000),
        child.c.time < timestamp(-(-until_ns // 1000)),
        parent.c.time >= timestamp((since_ns - PARENT_BEFORE_NS) // 1000),
        parent.c.time < timestamp(-(-until_ns // 1000)),
    ]
    statement = (
        select(parent.c.component, child.c.component, func.count())
        .where(
            parent.c.trace_id == child.c.trace_id,
            parent.c.span_id == child.c.parent_span_id,
            parent.c.component != child.c.component,
            *window,
        )
        .group_by(parent.c.component, child.c.component)
        .order_by(parent.c.component, child.c.component)
    )
    return [Call(parent=a, child=b, count=n) for a, b, n in await connection.execute(statement)]


async def service_numbers(connection: AsyncConnection, since_ns: int, until_ns: int) -> list[ServiceNumbers]:
    """Return what each component served in [since, until): spans of kind server or consumer, or without a parent.

    The busiest first, SERVICES_MAX of them.
    """
    table = spans.c
    served = or_(table.kind.in_(_SERVING), table.parent_span_id.is_(None))
    times = func.percentile_cont(literal([0.5, 0.95, 0.99], ARRAY(Double))).within_group(table.duration_ns)
    count = func.count()
    statement = (
        select(table.component, count.label("n"), count.filter(table.status_code == _ERROR).label("errors"),
               times.label("times"))
        .where(table.time >= timestamp(since_ns // 1000), table.time < timestamp(-(-until_ns // 1000)), served)
        .group_by(table.component).order_by(count.desc(), table.component).limit(SERVICES_MAX)
    )  # fmt: skip
    return [
        ServiceNumbers(
            component=row.component, requests=row.n, errors=row.errors,
            p50_ns=row.times[0], p95_ns=row.times[1], p99_ns=row.times[2],
        )
        for row in await connection.execute(statement)
    ]  # fmt: skip


async def versions(connection: AsyncConnection) -> dict[str, list[str]]:
    """Return the versions each component named (service.version), the one that was first seen last first."""
    table = resources.c
    version = table.attributes["service.version"].astext
    statement = select(table.component, version.label("version"), func.max(table.first_seen).label("since"))
    statement = statement.where(version.isnot(None)).group_by(table.component, version)
    found: dict[str, list[str]] = {}
    for row in await connection.execute(statement.order_by(text("since DESC")).limit(OPERATIONS_MAX)):
        found.setdefault(row.component, []).append(row.version)
    return found
