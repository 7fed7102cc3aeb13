"""A seeded story for the page: three hundred checkouts through four components, some slow, some failing; and malice."""

import json
import random
import time
from typing import Any

from tests.factories import span, traces_request
from tests.harness import Server

MS = 1_000_000
LARGE_TRACE = "ef" * 16
_A_REQUEST = 10_000
MALICE = (
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=1> \u202egnp.exe \x1b[31mred\x07 "
    "\"'><svg onload=window.pwned=1> javascript:window.pwned=1 {{7*7}} ${window.pwned=1}\u2028\r\n</title></textarea>"
)
"""What no field may ever do but be read."""
VERSIONS = {"shop": "2.4.1", "payments": "1.9.0", "inventory": "0.7.3", "mailer": "1.0.0"}
_SEVERITIES = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}
Json = dict[str, Any]


def attributes(given: Json) -> list[Json]:
    """Return OTLP/JSON attributes."""
    kinds = {int: "intValue", float: "doubleValue", str: "stringValue"}
    return [{"key": k, "value": {kinds[type(v)]: str(v) if isinstance(v, int) else v}} for k, v in given.items()]


class Story:
    """Spans and records of components, sent in one request each."""

    def __init__(self, seed: int, now_ns: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a story, not a secret
        self.now_ns = now_ns
        self.logs: dict[str, list[Json]] = {}
        self.spans: dict[str, list[Json]] = {}
        self.failed: list[str] = []

    def log(
        self, who: str, at: int, severity: str, body: str, where: tuple[str, str] | None = None, **more: Any
    ) -> None:
        """Tell one record; ``where``: its trace and span."""
        ids = {"traceId": where[0], "spanId": where[1]} if where else {}
        self.logs.setdefault(who, []).append(
            {"timeUnixNano": str(at), "severityNumber": _SEVERITIES[severity], "severityText": severity}
            | {"body": {"stringValue": body}, "attributes": attributes(_dotted(more))} | ids
        )  # fmt: skip

    def span(
        self, who: str, ids: tuple[str, str, str | None], name: str, kind: int, edges: tuple[int, int],
        error: str | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """Tell one span; ``ids``: of its trace, itself and its parent."""
        status = {"code": 2, "message": error} if error else {}
        self.spans.setdefault(who, []).append(
            {"traceId": ids[0], "spanId": ids[1], "name": name, "kind": kind, "status": status}
            | {"startTimeUnixNano": str(edges[0]), "endTimeUnixNano": str(edges[1])}
            | {"attributes": attributes(_dotted(more))} | ({"parentSpanId": ids[2]} if ids[2] else {})
        )  # fmt: skip

    def checkout(self) -> None:
        """Tell one request through four components."""
        rnd = self.random
        trace, ids = f"{rnd.getrandbits(128):032x}", [f"{rnd.getrandbits(64):016x}" for _ in range(9)]
        bad, slow = rnd.random() < 0.08, rnd.random() < 0.1
        at = self.now_ns - int(rnd.random() ** 1.2 * 58 * 60 * 1e9)
        pay = int(rnd.lognormvariate(4.4, 0.5) * MS) * (6 if slow else 1)
        stock = int(rnd.lognormvariate(2.6, 0.5) * MS)
        total, paying = stock + pay + 20 * MS, at + 8 * MS + stock
        message = "card gateway timed out" if bad else None
        route, code = {"http__route": "/checkout"}, {"http__response__status_code": 502 if bad else 200}
        self.span("shop", (trace, ids[0], None), "POST /checkout", 2, (at, at + total), message, **route, **code)
        cart = f"checkout of cart {rnd.randrange(9000)} with {rnd.randrange(1, 9)} items"
        self.log("shop", at + 2 * MS, "INFO", cart, (trace, ids[0]), cart__items=3)
        self.span("shop", (trace, ids[1], ids[0]), "GET inventory", 3, (at + 4 * MS, at + 6 * MS + stock))
        looked = (at + 5 * MS, at + 5 * MS + stock)
        self.span("inventory", (trace, ids[2], ids[1]), "GET /stock/{sku}", 2, looked, http__route="/stock/{sku}")
        self.span("inventory", (trace, ids[3], ids[2]), "SELECT stock", 3, (looked[0] + MS, looked[1] - MS))
        sku = f"stock of sku-{rnd.randrange(400)}: {rnd.randrange(90)}"
        self.log("inventory", at + 7 * MS, "DEBUG", sku, (trace, ids[2]))
        if rnd.random() < 0.1:
            old = f"stock cache is {rnd.randrange(5, 40)} s old"
            self.log("inventory", at + 8 * MS, "WARN", old, (trace, ids[3]))
        calling, charging = (paying, paying + pay + 6 * MS), (paying + 3 * MS, paying + pay)
        self.span("shop", (trace, ids[4], ids[0]), "POST payments", 3, calling, message)
        served = (paying + MS, paying + pay + 3 * MS)
        self.span("payments", (trace, ids[5], ids[4]), "POST /pay", 2, served, message, http__route="/pay")
        self.span("payments", (trace, ids[6], ids[5]), "charge card", 3, charging, message)
        amount = f"charging {rnd.randrange(5, 400)}.{rnd.randrange(10, 99)} EUR"
        self.log("payments", paying + 4 * MS, "INFO", amount, (trace, ids[5]))
        if bad:
            self.failed.append(trace)
            stack = 'Traceback (most recent call last):\n  File "pay.py", line 41, in charge\nTimeoutError: gateway:443'
            self.log(
                "payments", charging[1], "ERROR", "card gateway timed out after 3 tries", (trace, ids[6]),
                exception__type="TimeoutError", exception__message="gateway:443", exception__stacktrace=stack,
            )  # fmt: skip
            return
        if slow:
            self.log("payments", paying + pay // 2, "WARN", f"gateway is slow: {pay // MS} ms", (trace, ids[6]))
        self.span("shop", (trace, ids[7], ids[0]), "publish order.paid", 4, (at + total - 4 * MS, at + total - 2 * MS))
        mailed = (at + total + 10 * MS, at + total + 40 * MS)
        self.span("mailer", (trace, ids[8], ids[7]), "send receipt", 5, mailed)
        self.log("mailer", at + total + 30 * MS, "INFO", "receipt sent", (trace, ids[8]))

    def send(self, server: Server) -> None:
        """Send all that was told."""
        for who in {*self.logs, *self.spans}:
            scope = {"scope": {"name": f"{who}.app"}}
            resource = {"service.name": who, "service.version": VERSIONS.get(who, "1"), "host.name": "web-1"}
            about = {"resource": {"attributes": attributes(resource)}}
            records = {"resourceLogs": [about | {"scopeLogs": [scope | {"logRecords": self.logs.get(who, [])}]}]}
            spans = {"resourceSpans": [about | {"scopeSpans": [scope | {"spans": self.spans.get(who, [])}]}]}
            for path, request in (("/v1/logs", records), ("/v1/traces", spans)):
                assert server.post(path, json.dumps(request).encode())[0] == 200


def large_trace(server: Server, spans: int) -> None:
    """Send a trace of ``spans`` spans, three levels deep, every thousandth failed."""
    start = time.time_ns()
    for first in range(0, spans, _A_REQUEST):
        told = []
        for n in range(first, first + _A_REQUEST):
            parent = b"" if n == 0 else (1 if n % 100 == 0 else n // 100 * 100 + 1).to_bytes(8, "big")
            begins = start + n * 10_000
            edges = {"start_time_unix_nano": begins, "end_time_unix_nano": begins + (2 * 10**9 if n == 0 else 900_000)}
            status = {"code": 2, "message": "no"} if n % 1000 == 999 else {"code": 0}
            told.append(
                span(
                    trace_id=bytes.fromhex(LARGE_TRACE), span_id=(n + 1).to_bytes(8, "big"), parent_span_id=parent,
                    name=f"step {n % 50}", status=status, **edges,
                )
            )  # fmt: skip
        request = traces_request(told).SerializeToString()
        assert server.post("/v1/traces", request, "application/x-protobuf")[0] == 200


def malice(server: Server, now_ns: int) -> str:
    """Send a record and a span with malice in every field that takes text; return their trace id."""
    trace, span = "ab" * 16, "cd" * 8
    given = attributes({"service.name": MALICE, "service.version": MALICE, MALICE: MALICE, "exception.type": MALICE})
    given.append({"key": "exception.stacktrace", "value": {"stringValue": MALICE}})
    given.append({"key": "nested", "value": {"kvlistValue": {"values": attributes({MALICE: MALICE})}}})
    scope = {"scope": {"name": MALICE, "version": MALICE, "attributes": given}, "schemaUrl": MALICE}
    text, base = {"stringValue": MALICE}, {"traceId": trace, "spanId": span, "attributes": given}
    record = base | {"timeUnixNano": str(now_ns), "severityText": MALICE, "body": text, "eventName": MALICE}
    bare = {"timeUnixNano": str(now_ns - MS), "severityNumber": 17, "eventName": MALICE, "attributes": given}
    formula = {"timeUnixNano": str(now_ns - 2 * MS), "body": {"stringValue": '=HYPERLINK("http://x","y")'}}
    told = base | {"name": MALICE, "kind": 2, "traceState": MALICE, "status": {"code": 2, "message": MALICE}}
    told |= {"startTimeUnixNano": str(now_ns - 9 * MS), "endTimeUnixNano": str(now_ns)}
    told["events"] = [{"name": MALICE, "timeUnixNano": str(now_ns - MS), "attributes": given}]
    told["links"] = [{"traceId": trace, "spanId": span, "traceState": MALICE, "attributes": given}]
    about = {"resource": {"attributes": given}, "schemaUrl": MALICE}
    logs = {"resourceLogs": [about | {"scopeLogs": [scope | {"logRecords": [record, bare, formula]}]}]}
    child = told | {"spanId": "ce" * 8, "parentSpanId": span}
    spans = {"resourceSpans": [about | {"scopeSpans": [scope | {"spans": [told, child]}]}]}
    for path, request in (("/v1/logs", logs), ("/v1/traces", spans)):
        status, answer = server.post(path, json.dumps(request).encode())
        assert status == 200, answer
    return trace


def _dotted(given: Json) -> Json:
    return {name.replace("__", "."): v for name, v in given.items()}
