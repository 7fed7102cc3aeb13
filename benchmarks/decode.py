"""``make bench-decode``: CPU of one record from the body's bytes to its COPY tuple, on one core, all ways in one run.

Best of many rounds of process time, the ways taking turns: a busy machine makes single rounds slow, not the best one.
"""

import argparse
import gc
import os
import time
from collections.abc import Callable
from unittest import mock

from rich.console import Console
from rich.table import Table

from otel_ingest import native
from otel_ingest.decoding import Decoded, Decoding
from otel_ingest.limits import Limits
from otel_ingest.redact import SecondLine
from otel_ingest.redaction import shared_rules
from otel_ingest.signals import LOGS, TRACES, Signal
from otel_ingest.wire import Encoding, as_protobuf
from tests.factories import attributes, log_record, logs_request, span, traces_request
from tests.generate import json_body

LIMITS = Limits()
RECORDS_A_REQUEST = 512
BODY = "GET /api/orders/{} answered 200 in {} ms for customer {}"


def requests_of(records: int) -> list[bytes]:
    """Return encoded requests of 512 records of some 300 bytes: 8 attributes, a trace id shared by 8 neighbours."""
    requests = []
    for first in range(0, records, RECORDS_A_REQUEST):
        made = []
        for n in range(first, first + RECORDS_A_REQUEST):
            trace_id = (n // 8).to_bytes(8, "big") + os.urandom(8) if n % 8 == 0 else trace_id  # noqa: F821
            values = {
                "http__request__method": "GET",
                "http__route": "/api/orders/{id}",
                "http__response__status_code": 200,
                "url__path": f"/api/orders/{n}",
                "server__address": "shop.internal",
                "client__address": f"10.0.{n % 256}.7",
                "user__id": n % 5000,
                "duration_ms": n % 977 / 7,
            }
            made.append(
                log_record(
                    body={"string_value": BODY.format(n, n % 977, n % 5000)},
                    trace_id=trace_id,
                    span_id=os.urandom(8),
                    attributes=attributes(**values),
                )
            )
        requests.append(logs_request(made, service=f"service-{first // RECORDS_A_REQUEST % 8}").SerializeToString())
    return requests


def spans_of(requests: list[bytes]) -> list[bytes]:
    """Return as many spans with the same attributes and ids as the log records."""
    made = []
    for request in requests:
        records = LOGS.request_type.FromString(request).resource_logs[0].scope_logs[0].log_records
        spans = [span(trace_id=r.trace_id, span_id=r.span_id, attributes=r.attributes) for r in records]
        made.append(traces_request(spans).SerializeToString())
    return made


def decoded(
    signal: Signal, body: bytes, encoding: Encoding = Encoding.PROTOBUF, second_line: SecondLine | None = None
) -> Decoded:
    """Return what a body decodes to."""
    given = as_protobuf(signal, body, encoding, LIMITS)
    decoding = Decoding(signal, *given, LIMITS, time.time_ns(), second_line)
    while decoding.turn(LIMITS.records_max):
        pass
    return decoding.decoded


def cost_us(requests: list[bytes], way: Callable[[bytes], Decoded]) -> float:
    """Return microseconds of CPU a record of one round."""
    started = time.process_time()
    for request in requests:
        assert len(way(request).batch.rows) == RECORDS_A_REQUEST
    return (time.process_time() - started) / len(requests) / RECORDS_A_REQUEST * 1e6


def plainly(way: Callable[[bytes], Decoded]) -> Callable[[bytes], Decoded]:
    """Return a way without the compiled code."""

    def plain(body: bytes) -> Decoded:
        with mock.patch.object(native, "available", new=False):
            return way(body)

    return plain


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20, help="of 512 records each")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    logs = requests_of(options.requests * RECORDS_A_REQUEST)
    spans = spans_of(logs)
    documents = [json_body(LOGS.request_type.FromString(request)) for request in logs]
    second_line = SecondLine(shared_rules())
    ways: dict[str, tuple[list[bytes], Callable[[bytes], Decoded]]] = {
        "logs, protobuf": (logs, lambda body: decoded(LOGS, body)),
        "logs, protobuf, redacted": (logs, lambda body: decoded(LOGS, body, second_line=second_line)),
        "spans, protobuf": (spans, lambda body: decoded(TRACES, body)),
        "logs, JSON": (documents, lambda body: decoded(LOGS, body, Encoding.JSON)),
        "logs, JSON, redacted": (documents, lambda body: decoded(LOGS, body, Encoding.JSON, second_line)),
    }
    best: dict[tuple[str, bool], float] = {}
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the server does
    for _ in range(options.rounds):
        for name, (requests, way) in ways.items():
            for compiled in (True, False):
                found = cost_us(requests, way if compiled else plainly(way))
                best[name, compiled] = min(best.get((name, compiled), found), found)
    table = Table("CPU a record, to its COPY tuple", "compiled, µs", "records/s a core", "plain, µs", box=None)
    for name in ways:
        quick, plain = best[name, True], best[name, False]
        table.add_row(name, f"{quick:.2f}", f"{1e6 / quick:,.0f}", f"{plain:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
