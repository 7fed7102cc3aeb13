"""Part of ``make check``: compiled decoding is still many times as fast as the plain way, in one run, by CPU time.

A ratio, so that a slow or busy machine makes no difference; a third of what is measured is the bound.
"""

import statistics
import sys

from benchmarks.decode import RECORDS_A_REQUEST, Decoded, cost_us, decoded, plainly, requests_of, spans_of
from otel_ingest import native
from otel_ingest.signals import LOGS, TRACES
from otel_ingest.wire import Encoding
from tests.generate import json_body

_TIMES_MIN = 3.0
_REQUESTS, _ROUNDS = 2, 5


def main() -> None:
    """Measure; exit 1 and say what is slow."""
    if not native.available:
        print("compiled decoding is not there: its speed is not checked")
        return
    logs = requests_of(_REQUESTS * RECORDS_A_REQUEST)
    documents = [json_body(LOGS.request_type.FromString(request)) for request in logs]

    def of_json(body: bytes) -> Decoded:
        return decoded(LOGS, body, Encoding.JSON)

    ways = {
        "log records": (logs, lambda body: decoded(LOGS, body)),
        "spans": (spans_of(logs), lambda body: decoded(TRACES, body)),
        "log records as JSON": (documents, of_json),
    }
    slow = []
    for name, (requests, way) in ways.items():
        ratios = [cost_us(requests, plainly(way)) / cost_us(requests, way) for _ in range(_ROUNDS)]
        times = statistics.median(ratios)
        print(f"{name}: compiled decoding is {times:.1f} times as fast as the plain way")
        if times < _TIMES_MIN:
            slow.append(name)
    if slow:
        sys.exit(f"below {_TIMES_MIN} times: {', '.join(slow)}")


if __name__ == "__main__":
    main()
