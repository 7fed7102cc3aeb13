"""Run as a program under the sanitizers, with the library they are in: sound and damaged requests, of records and JSON.

Every allocation is one of its own (PYTHONMALLOC=malloc), so that an access beyond any buffer is seen. Prints how many
calls were made.
"""

import sys
from pathlib import Path

from otel_ingest import native
from otel_ingest.limits import Limits
from otel_ingest.native import records, search
from otel_ingest.signals import LOGS, SIGNALS, TRACES
from otel_ingest.wire.json_wire import protobuf_of
from tests.generate import NOW, Generator, json_body

ENVELOPES = [records.Envelope(b"r" * 16, b"s" * 16, "shop", 20_000, 16, spans=spans) for spans in (False, True)]
TIMES = (0, 1 << 63, NOW)
ROOMS = [(1, 1, 1), (2, 1, 1), (8, 2, 512), (64, 3, 4_096), (64, 64, 16_384)]  # scopes, records, bytes


def rows(seed: int) -> int:
    """Decode a request, sound or damaged, into places of several sizes; every other time as if it were another."""
    signal, calls = (LOGS, TRACES)[seed % 2], 0
    generator = Generator(seed)
    body = generator.request(signal).SerializeToString()
    if seed % 3:
        body = generator.damaged(body)
    for room in ROOMS:
        records._scratch = records._Scratch(*room)
        outline = records.outline(body)
        for scope in [scope for group in outline.groups for scope in group.scopes] if outline else []:
            at, left = scope.at, scope.records
            while left:
                done = records.rows(scope, at, ENVELOPES[(seed >> 1) % 2], TIMES, 1 << 20)
                assert 0 < done.records == len(done.ends)
                at, left = done.at, left - done.records
                calls += 1
    return calls


def json(seed: int) -> int:
    """Read a request as JSON, sound or damaged."""
    generator = Generator(seed)
    body = json_body(generator.request(SIGNALS[seed % 3]))
    for native._BYTES_A_CHARACTER in ((0,), (0, 1), (4,)):
        protobuf_of(SIGNALS[seed % 3], generator.damaged(body) if seed % 4 else body, Limits())
    return 3


def look(seed: int) -> int:
    """Search bytes of every length that parts begin and end at, in states made with too little room, and enough."""
    generator = Generator(seed)
    patterns = [("(?:se|co)[^a-z]{0,2}(?:cret|okie)\\b[a-z]*=", True), ("[4-6](?:-?[0-9]){3}|x{2}", False)]
    search._STATES_MAX, search._SETS_MAX = ((3, 10), (40, 2000), (1 << 10, 60), (1 << 10, 1 << 12))[seed % 4]
    try:
        texts = search.FirstLook([("'|[$][$]", False)])
        first = search.FirstLook(patterns, search.Asking([("x[.]y\\x12", True)], texts))
    except search.NotExpressibleError:
        return 1
    whole = (
        generator.request(SIGNALS[seed % 3]).SerializeToString() + b"\x0d\n\x03x.y\x12\x06\n\x04a=$1Se--cret=5-4-4--x"
    )
    for size in range(min(len(whole), 40)):
        first.clean(generator.damaged(whole)[size:])
        first.clean(whole[-size:])
    return 80


if __name__ == "__main__":
    native.library = native.load(Path(sys.argv[1]))
    assert native.library is not None
    print(sum(rows(seed) + json(seed) + look(seed) for seed in range(int(sys.argv[2]))))
