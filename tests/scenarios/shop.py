"""A shop of eight services that are asked to do things: their spans, log records and metric points, by a seed."""

import json
import random
import time
from typing import Any

from storage.batch import Batch
from storage.columns import LOG_RECORDS, METRIC_POINTS, SPANS, TelemetryTable
from storage.encoding import row_encoder
from storage.rows import ResourceRow
from storage.sink import PostgresSink
from tests.factories import SCOPE, log_row, metric_point_row, span_row

SERVICES = ("frontend", "checkout", "cart", "catalog", "payments", "inventory", "shipping", "notifications")
MINUTE_US = 60_000_000
WINDOW_MIN = 15
REQUESTS = 120
"""In each of the two windows: the last fifteen minutes, and the fifteen before."""
_MS = 1_000_000
INFO, WARN, ERROR = 9, 13, 17
Attributes = dict[str, Any]


class Request:
    """One trace that is being made; times in ms from its start."""

    def __init__(self, shop: "Shop", at_us: int) -> None:
        self.shop = shop
        self.at_us = at_us
        self.trace_id = shop.rng.randbytes(16)

    def span(
        self, parent: int | None, component: str, name: str, start: float, took: float, *, error: str = "",
        kind: int = 2, **attributes: Any,
    ) -> int:  # fmt: skip
        """Add a span; return its id."""
        at = self.at_us + int(start * 1000)
        number = self.shop.rng.getrandbits(62) + 1
        row = span_row(
            time=at, trace_id=self.trace_id, span_id=number, parent_span_id=parent, component=component, name=name,
            kind=kind, duration_ns=int(took * _MS), end_time_unix_nano=at * 1000 + int(took * _MS),
            status_code=2 if error else None, status_message=error, attributes=json.dumps(attributes).encode(),
            resource_id=self.shop.resource(component, at),
        )  # fmt: skip
        self.shop.spans.append(row)
        return number

    def log(self, span: int | None, component: str, severity: int, body: str, at: float, **attributes: Any) -> None:
        """Add a log record of a span."""
        self.shop.log(component, severity, body, self.at_us + int(at * 1000), self.trace_id, span, attributes)


class Shop:
    """What the services sent; ``versions``: {service: [(from when, us since 1970, version)]}."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self.now_us = time.time_ns() // 1000
        self.spans: list[Any] = []
        self.logs: list[Any] = []
        self.points: list[Any] = []
        self.versions: dict[str, list[tuple[int, str]]] = {name: [(0, "1.4.2")] for name in SERVICES}
        self._resources: dict[bytes, ResourceRow] = {}

    @property
    def change_us(self) -> int:
        """Return when the last window began: faults are planted from here on."""
        return self.now_us - WINDOW_MIN * MINUTE_US

    def moments(self, count: int, *, before: bool) -> list[int]:
        """Return ``count`` moments of the window before the change, or after it."""
        begin = self.change_us - (WINDOW_MIN * MINUTE_US if before else 0)
        return sorted(begin + self.rng.randrange(5_000_000, WINDOW_MIN * MINUTE_US - 5_000_000) for _ in range(count))

    def request(self, at_us: int) -> Request:
        """Begin a trace."""
        return Request(self, at_us)

    def resource(self, component: str, at_us: int) -> bytes:
        """Return the id of a service's resource at a time."""
        version = next(v for since, v in reversed(self.versions[component]) if at_us >= since)
        identifier = f"{component}@{version}".encode().ljust(16, b".")[:16]
        said = {"service.name": component, "service.version": version, "host.name": f"{component}-1"}
        self._resources[identifier] = ResourceRow(identifier, component, json.dumps(said).encode(), 0, "", None)
        return identifier

    def log(
        self, component: str, severity: int, body: str, at_us: int, trace: bytes | None, span: int | None,
        attributes: Attributes,
    ) -> None:  # fmt: skip
        """Add a log record."""
        event = attributes.pop("event_name", "")
        self.logs.append(
            log_row(
                time=at_us, component=component, severity_number=severity, body=body, trace_id=trace, span_id=span,
                severity_text={INFO: "INFO", WARN: "WARN", ERROR: "ERROR"}[severity], event_name=event,
                attributes=json.dumps(attributes).encode(), resource_id=self.resource(component, at_us),
            )
        )  # fmt: skip

    def gauge(self, component: str, name: str, value: int, at_us: int) -> None:
        """Add a metric point."""
        resource = self.resource(component, at_us)
        self.points.append(
            metric_point_row(time=at_us, component=component, name=name, value_int=value, resource_id=resource)
        )

    def checkout(self, at_us: int, *, query_ms: float = 3, skew_ms: float = 0) -> tuple[Request, dict[str, int]]:
        """Add one good order through all eight services; return it with the ids of the services' spans."""
        r = self.request(at_us)
        more = query_ms - 3
        jitter = self.rng.uniform(0.9, 1.1)
        ids = {"frontend": r.span(None, "frontend", "POST /checkout", 0, 120 * jitter + more)}
        ids["checkout"] = r.span(ids["frontend"], "checkout", "Place order", 5, 105 * jitter + more)
        ids["cart"] = r.span(ids["checkout"], "cart", "Get cart", 8, 6)
        r.span(ids["cart"], "cart", "redis GET", 9, 2, kind=3)
        ids["catalog"] = r.span(ids["checkout"], "catalog", "Price items", 16, 14 * jitter)
        r.span(ids["catalog"], "catalog", "SELECT prices", 18, 4, kind=3)
        client = r.span(ids["checkout"], "checkout", "POST /charge", 34, 30 + more, kind=3)
        ids["payments"] = r.span(client, "payments", "Charge", 36, 26 + more)
        r.span(ids["payments"], "payments", "SELECT accounts", 40, query_ms, kind=3)
        reserve = r.span(ids["checkout"], "checkout", "POST /reserve", 66 + more, 14, kind=3)
        ids["inventory"] = r.span(reserve, "inventory", "Reserve", 67 + more + skew_ms, 11)
        ids["shipping"] = r.span(ids["checkout"], "shipping", "Quote", 84 + more, 12)
        ids["notifications"] = r.span(ids["frontend"], "notifications", "Send mail", 112 + more, 6, kind=5)
        r.log(ids["checkout"], "checkout", INFO, f"order {self.rng.randrange(10**6)} placed", 100)
        r.log(ids["payments"], "payments", INFO, f"charged {self.rng.randrange(1000)}.00 EUR", 50)
        r.log(ids["inventory"], "inventory", INFO, f"reserved {self.rng.randrange(1, 9)} items", 70)
        return r, ids

    def usual(self, *, after: bool = True) -> None:
        """Add the harmless noise of both windows, and the usual orders (``after``: of the last window too)."""
        for before in (True, False):
            for at in self.moments(REQUESTS, before=before) if before or after else ():
                self.checkout(at)
            for at in self.moments(40, before=before):
                self.log(
                    "notifications", WARN, f"SMTP greeting took {self.rng.randrange(900, 2000)} ms", at, None, None, {}
                )
            for at in self.moments(25, before=before):
                image = f"thumbnail missing for image {self.rng.randrange(10**6)}"
                self.log("catalog", ERROR, image, at, None, None, {})
        for at in (self.change_us - 6 * MINUTE_US, self.change_us + 6 * MINUTE_US):
            report = self.request(at)
            root = report.span(None, "inventory", "Nightly report", 0, 45_000)
            report.span(root, "inventory", "COPY stock", 100, 44_000, kind=3)

    async def store(self, sink: PostgresSink) -> None:
        """Store all of it."""
        for rows, table in ((self.logs, LOG_RECORDS), (self.spans, SPANS), (self.points, METRIC_POINTS)):
            if rows:
                await sink.write([self._batch(rows, table)])

    def _batch(self, rows: list[Any], table: TelemetryTable) -> Batch:
        batch = Batch(table, resources=dict(self._resources), scopes={SCOPE.id: SCOPE})
        encode = row_encoder(table)
        for row in rows:
            batch.add(row, encode(row))
        return batch
