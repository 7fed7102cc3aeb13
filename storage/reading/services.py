"""Services as other tools ask for them: operations, spans of a trace by service, what each served."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.count_models import span_detail_deltas, span_names
from storage.counts import NAME_CHARS_MAX
from storage.filters import timestamp
from storage.latency import quantiles
from storage.mapping import kind_name
from storage.models import resources, spans
from storage.reading.requests import HOUR_NS, Served, joined, requests_served, uncounted_hours
from storage.views import Operation, ServiceNumbers, ServiceSpans

# Names are meant to be few; a service that puts ids into them must not make an answer of megabytes.
OPERATIONS_MAX = 2_000
# Of spans that are not counted yet, the latest are read for their names.
_NAMED_SPANS_MAX = 20_000
# A page of components; those beyond serve least.
SERVICES_MAX = 200
_ERROR = 2
_ALWAYS_NS = (0, (1 << 63) - 1)


async def operations(connection: AsyncConnection, component: str, kind: int | None = None) -> list[Operation]:
    """Return name and kind of a component's spans, each once, by name: its first 200 characters.

    OPERATIONS_MAX of them, and of an hour 200.
    """
    found: set[tuple[str, int]] = set()
    names, fresh, table = span_names.c, span_detail_deltas.c, spans.c
    counted = select(names.name, names.kind, names.count).where(names.component == component)
    both = counted.union_all(select(fresh.name, fresh.kind, fresh.count).where(fresh.component == component))
    each = both.subquery().c
    statement = select(each.name, each.kind).where(each.name.isnot(None)).group_by(each.name, each.kind)
    statement = statement.having(func.sum(each.count) > 0).limit(OPERATIONS_MAX)
    found |= {(row.name, row.kind) for row in await connection.execute(statement)}
    for since, until in joined([(h, h + HOUR_NS) for h in await uncounted_hours(connection, *_ALWAYS_NS)]):
        name = func.left(table.name, NAME_CHARS_MAX).label("name")
        latest = select(name, table.kind).where(
            table.component == component,
            table.time >= timestamp(since // 1000),
            table.time < timestamp(until // 1000),
        )
        inner = latest.order_by(table.time.desc()).limit(_NAMED_SPANS_MAX).subquery()
        found |= {(row.name, row.kind) for row in await connection.execute(select(inner).distinct())}
    chosen = sorted(each for each in found if kind is None or each[1] == kind)
    return [Operation(name=name, kind=kind_name(number)) for name, number in chosen[:OPERATIONS_MAX]]


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


async def service_numbers(connection: AsyncConnection, since_ns: int, until_ns: int) -> list[ServiceNumbers]:
    """Return what each component served in [since, until): spans of kind server or consumer, and jobs of its own.

    The busiest first, SERVICES_MAX of them; percentiles are 3.1 % off at most.
    """
    found = await requests_served(connection, since_ns, until_ns)
    busiest = sorted(found.items(), key=lambda item: (-item[1].requests, item[0]))[:SERVICES_MAX]
    return [_numbers(component, each) for component, each in busiest if each.requests]


def _numbers(component: str, each: Served) -> ServiceNumbers:
    p50, p95, p99 = quantiles(each.histogram, (0.5, 0.95, 0.99))
    return ServiceNumbers(
        component=component, requests=each.requests, errors=each.errors, p50_ns=p50, p95_ns=p95, p99_ns=p99
    )


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
