"""``make bench-decode``: CPU of one record from the body's bytes to its COPY row, on one core, both ways, in one run.

Best of many rounds of process time, the ways taking turns: a busy machine makes single rounds slow, not the best one.
"""

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bench import RECORDS_A_REQUEST, requests_of
from otel_ingest.decode import decode
from otel_ingest.limits import Limits
from otel_ingest.signals import LOGS, TRACES, Signal
from otel_ingest.wire import Encoding, Parsed, parse
from otel_ingest.wire.protobuf import parse_whole
from storage.encoding import row_encoder
from storage.rows import ResourceRow, ScopeRow
from tests.factories import span, traces_request
from tests.generate import json_body

LIMITS = Limits()
Way = Callable[[bytes], Parsed]


def spans_of(requests: list[bytes]) -> list[bytes]:
    """Return as many spans with the same attributes and ids as the log records."""
    made = []
    for request in requests:
        records = LOGS.request_type.FromString(request).resource_logs[0].scope_logs[0].log_records
        spans = [span(trace_id=r.trace_id, span_id=r.span_id, attributes=r.attributes) for r in records]
        made.append(traces_request(spans).SerializeToString())
    return made


def cost_us(signal: Signal, requests: list[bytes], way: Way, *, encode: bool) -> float:
    """Return microseconds of CPU a record of one round, to its row or to that row encoded."""
    received_ns, encoder = time.time_ns(), row_encoder(signal.table)
    started = time.process_time()
    for request in requests:
        items = decode(signal, way(request), received_ns=received_ns, limits=LIMITS)
        rows: Any = (item for item in items if not isinstance(item, ResourceRow | ScopeRow))
        kept = [encoder(row) for row in rows] if encode else list(rows)  # one request's together, as in a batch
        assert len(kept) == RECORDS_A_REQUEST
    return (time.process_time() - started) / len(requests) / RECORDS_A_REQUEST * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20, help="of 512 records each")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    logs = requests_of(options.requests * RECORDS_A_REQUEST)
    spans = spans_of(logs)
    documents = [json_body(LOGS.request_type.FromString(request)) for request in logs]
    ways: dict[str, tuple[Signal, list[bytes], Way]] = {
        "logs, protobuf, plain": (LOGS, logs, lambda body: parse_whole(LOGS, body)),
        "logs, protobuf": (LOGS, logs, lambda body: parse(LOGS, body, Encoding.PROTOBUF, LIMITS)),
        "spans, protobuf, plain": (TRACES, spans, lambda body: parse_whole(TRACES, body)),
        "spans, protobuf": (TRACES, spans, lambda body: parse(TRACES, body, Encoding.PROTOBUF, LIMITS)),
        "logs, JSON": (LOGS, documents, lambda body: parse(LOGS, body, Encoding.JSON, LIMITS)),
    }
    best: dict[tuple[str, bool], float] = {}
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the server does
    for _ in range(options.rounds):
        for name, (signal, requests, way) in ways.items():
            for encode in (False, True):
                found = cost_us(signal, requests, way, encode=encode)
                best[name, encode] = min(best.get((name, encode), found), found)
    table = Table("CPU a record", "to its row, µs", "and encoded, µs", "records/s a core", box=None)
    for name in ways:
        rows_us, all_us = best[name, False], best[name, True]
        table.add_row(name, f"{rows_us:.1f}", f"{all_us:.1f}", f"{1e6 / all_us:,.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
