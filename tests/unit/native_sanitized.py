"""Run as a program under the sanitizers, with the library they are in: sound and damaged requests, of records and JSON.

Every allocation is one of its own (PYTHONMALLOC=malloc), so that an access beyond any buffer is seen. Prints how many
calls were made.
"""

import sys
from pathlib import Path

from otel_ingest import native
from otel_ingest.limits import Limits
from otel_ingest.signals import LOGS, SIGNALS, TRACES
from otel_ingest.wire.json_wire import protobuf_of
from tests.generate import NOW, Generator, json_body

ENVELOPE = native.Envelope(b"r" * 16, b"s" * 16, "shop", 0, 1 << 63, NOW, 20_000, 16)
SIZES = [(0, 0), (0, 100), (1, 30), (4, 512)]  # bytes of room a byte, and a row


def rows(seed: int) -> int:
    """Decode the records of a request, sound or damaged, into buffers of several sizes."""
    signal, calls = (LOGS, TRACES)[seed % 2], 0
    generator = Generator(seed)
    message = generator.request(signal)
    for group in getattr(message, signal.lists[0]):
        for scope in getattr(group, signal.lists[1]):
            records = [r.SerializeToString() for r in getattr(scope, signal.lists[2])][:8]
            if seed % 3:
                records = [generator.damaged(r) for r in records]
            for native._BYTES_A_BYTE, native._BYTES_A_ROW in SIZES:
                native.rows(records, ENVELOPE, spans=signal is TRACES)
                calls += 1
    return calls


def json(seed: int) -> int:
    """Read a request as JSON, sound or damaged."""
    generator = Generator(seed)
    body = json_body(generator.request(SIGNALS[seed % 3]))
    for native._BYTES_A_CHARACTER in (0, 1, 4):
        protobuf_of(SIGNALS[seed % 3], generator.damaged(body) if seed % 4 else body, Limits())
    return 3


if __name__ == "__main__":
    native._library = native.load(Path(sys.argv[1]))
    assert native._library is not None
    print(sum(rows(seed) + json(seed) for seed in range(int(sys.argv[2]))))
