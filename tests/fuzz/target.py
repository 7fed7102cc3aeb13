"""What any body must be: rows and rejections, each with a position of its own, or an error that is one of ours."""

import json
import random
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from otel_ingest.decode import decode
from otel_ingest.errors import RequestError
from otel_ingest.limits import Limits, Rejection
from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding, json_mapping, parse
from storage.batch import EncodedRows
from storage.encoding import row_encoder
from storage.rows import ResourceRow, ScopeRow
from tests.generate import Generator, json_body

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "otlp"
_EXAMPLE_SIGNALS = {"logs.json": "logs", "events.json": "logs", "trace.json": "traces", "metrics.json": "metrics"}
_BY_NAME = {signal.name: signal for signal in SIGNALS}
LIMITS = Limits()
NOW = time.time_ns()
# Far above what a body of a few kilobytes takes on a busy machine; far below what one that is not linear takes.
SECONDS_MAX = 2.0
# A record takes two bytes at least: its tag and a length, or its braces.
_RECORD_BYTES_MIN = 2
# Members of a list at most: small bodies are many bodies.
_MANY = 2
# Numbers, quoted pieces and JSON paths of a reason: what is left is its kind.
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|[A-Za-z]+\[[^ ]*|\d+")


class Input(NamedTuple):
    """One body and what it is sent as."""

    signal: Signal
    encoding: Encoding
    body: bytes


@dataclass
class Outcome:
    """What became of one body: ``stored``, ``partial``, ``rejected``, ``empty`` or ``malformed``, and the reasons."""

    kind: str
    reasons: set[str] = field(default_factory=set)


def check(case: Input) -> Outcome:
    """Parse, decode and encode one body. Raises AssertionError, or whatever a bug raises."""
    started = time.perf_counter()
    try:
        parsed = parse(case.signal, case.body, case.encoding, LIMITS)
    except RequestError as error:
        _in_time(started)
        return Outcome("malformed", {_kind(str(error))})
    encode = row_encoder(case.signal.table)
    rows, rejections, interned = 0, list(parsed.rejections), set()
    for item in decode(case.signal, parsed, received_ns=NOW, limits=LIMITS):
        if isinstance(item, Rejection):
            rejections.append(item)
        elif isinstance(item, ResourceRow | ScopeRow):
            interned.add(item.id)
            orjson.loads(item.attributes)
        elif isinstance(item, EncodedRows):
            rows += len(item.rows)
            assert sum(count for count, _ in item.counts.values()) >= len(item.rows)
        else:
            rows += 1
            assert {item.resource_id, item.scope_id} <= interned
            assert encode(item)
            orjson.loads(item.attributes)
    _in_time(started)
    places = [place for r in rejections for place in range(r.index, r.index + r.count)]
    total = rows + len(places)
    assert len(set(places)) == len(places), "a position is rejected twice"
    assert all(0 <= place < total for place in places), "a position that no record has"
    assert total <= len(case.body) // _RECORD_BYTES_MIN, "more records than the body can hold"
    kinds = {(True, False): "stored", (True, True): "partial", (False, True): "rejected", (False, False): "empty"}
    return Outcome(kinds[bool(rows), bool(places)], {_kind(r.reason) for r in rejections})


def _in_time(started: float) -> None:
    seconds = time.perf_counter() - started
    assert seconds < SECONDS_MAX, f"took {seconds:.1f} s"


def _kind(reason: str) -> str:
    """Return a reason without what differs from body to body."""
    return _VARIABLE.sub("…", reason)[:100]


class Source:
    """Bodies without end: the specification's examples and requests of every field, as they are and damaged."""

    def __init__(self, seed: int, requests: int = 100) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._seeds = self._examples()
        for signal in SIGNALS:
            for _ in range(requests):
                self._seeds += _both(signal, Generator(self._random.getrandbits(32), _MANY).request(signal))

    def _examples(self) -> list[Input]:
        seeds = []
        for name, signal_name in _EXAMPLE_SIGNALS.items():
            signal = _BY_NAME[signal_name]
            body = (EXAMPLES / name).read_bytes()
            compact = orjson.dumps(orjson.loads(body))
            seeds.append(Input(signal, Encoding.JSON, compact))
            message = json_mapping.parse_whole(signal, body, LIMITS).message
            seeds.append(Input(signal, Encoding.PROTOBUF, message.SerializeToString()))
        return seeds

    def draw(self) -> Input:
        """Return the next body."""
        chance = self._random.random()
        seed = self._random.choice(self._seeds)
        generator = Generator(self._random.getrandbits(32), _MANY)
        if chance < 0.05:
            fresh = self._random.choice(_both(seed.signal, generator.request(seed.signal)))
            self._seeds[self._random.randrange(len(self._seeds))] = fresh
            return fresh
        if chance < 0.1:
            return Input(self._random.choice(SIGNALS), self._random.choice(list(Encoding)), seed.body)
        if chance < 0.2:
            other = self._random.choice(self._seeds).body
            cut, from_ = self._random.randint(0, len(seed.body)), self._random.randint(0, len(other))
            return seed._replace(body=seed.body[:cut] + other[from_:])
        if seed.encoding is Encoding.JSON and chance < 0.6:
            return seed._replace(body=json.dumps(generator.damaged_json(orjson.loads(seed.body))).encode())
        return seed._replace(body=generator.damaged(seed.body))


def _both(signal: Signal, message: object) -> list[Input]:
    """Return a request in both encodings."""
    protobuf = message.SerializeToString()  # type: ignore[attr-defined]
    return [Input(signal, Encoding.PROTOBUF, protobuf), Input(signal, Encoding.JSON, json_body(message))]
