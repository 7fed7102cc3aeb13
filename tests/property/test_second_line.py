"""What the rules would mask in a message, the search of its bytes finds: whatever the lengths, wherever it stands."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from instrumentation.tests import corpus
from otel_ingest.decoding import Decoded, Decoding
from otel_ingest.encode.envelopes import value_of
from otel_ingest.limits import Limits
from otel_ingest.message_redaction import MessageRedactor
from otel_ingest.redact import SecondLine
from otel_ingest.redaction import shared_rules
from otel_ingest.signals import LOGS, METRICS, TRACES, Signal
from otel_ingest.wire import Encoding
from tests.wire_bytes import field

RULES = shared_rules()
LINE = SecondLine(RULES)
MESSAGES = MessageRedactor(RULES)
_CASES = json.loads((Path(__file__).parents[2] / "instrumentation" / "redaction" / "vectors.json").read_text())["cases"]
_TEXTS = [case["input"] for case in _CASES if case["place"] == "text" and "options" not in case]
LITERALS = ("SELECT 'a' FROM b", 'x = "y"', "DO $$ begin $$", "a = $1 AND b = ?", "it\\'s")
TEXTS = [*_TEXTS, *LITERALS, *(planted.text for planted in corpus.secrets())]
_NAMES, _PARAMETERS = RULES["names"], RULES["url_names"]
WORDS = [*_NAMES["terms"], *_NAMES["last"], *_NAMES["exact"], *_NAMES["suffixes"]]
WORDS += [*_PARAMETERS["always"], *_PARAMETERS["opaque"]]
PREFIXES = ("", "", "db.", "user_", "x-", "my", "http.request.header.", "2", "App ")
SUFFIXES = ("", "", "", "_1", "2", "Value", "_value", ".x", "-id", "s", "[0]", "Name")
# On both sides of where a length takes a byte more.
SIZES = (0, 0, 1, 100, 127, 128, 300, 17_000)


def name(draw: random.Random) -> str:
    """Return a name with a word of the rules, in any of the usual spellings, or that of a statement."""
    if draw.random() < 0.1:
        statement: str = draw.choice(RULES["sql"]["keys"])
        return statement
    word = draw.choice((str.lower, str.upper, str.capitalize, str.title))(draw.choice(WORDS))
    separators = "_-. " if draw.random() < 0.3 else ""
    spelt = "".join(c + (draw.choice(separators) if separators and draw.random() < 0.2 else "") for c in word)
    return draw.choice(PREFIXES) + spelt + draw.choice(SUFFIXES)


def text(draw: random.Random) -> str:
    """Return a text that may hold a secret, at its beginning, its end, or far within."""
    noise = corpus.noise(str(draw.random()), draw.choice((3, 12, 40)))
    pair = name(draw) + draw.choice(("=", ": ", " = ", "%3D", '":"')) + noise
    padding = draw.choice(("x ", "aB3", "é", "\n")) * draw.choice(SIZES)
    return draw.choice(("", padding)) + draw.choice((draw.choice(TEXTS), pair, noise)) + padding


def value(draw: random.Random) -> Any:
    """Return a value of any kind."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: text(draw),
        lambda: text(draw),
        lambda: int(corpus.card(str(draw.random()))),
        lambda: ["--" + name(draw), corpus.noise("a", 9), value(draw)],
        lambda: {name(draw): value(draw)},
        lambda: text(draw).encode(),
        lambda: draw.choice((True, 12, 1.5, "", None)),
    )
    return draw.choice(kinds)()


def log_record(draw: random.Random) -> tuple[bytes, set[str]]:
    """Return the bytes of a record with one value in it, and the rules that match."""
    record = LogRecord()
    if draw.random() < 0.3:
        record.body.CopyFrom(value_of(value(draw)))
    else:
        record.attributes.add(key=name(draw)).value.CopyFrom(value_of(value(draw)))
    return record.SerializeToString(), MESSAGES.log_record(record)


def span(draw: random.Random) -> tuple[bytes, set[str]]:
    """Return the bytes of a span with one text or value somewhere, and the rules that match."""
    span = Span()
    holder = draw.choice((span, span.events.add(), span.links.add()))
    if draw.random() < 0.4:
        holder.attributes.add(key=name(draw)).value.CopyFrom(value_of(value(draw)))
    elif draw.random() < 0.5:
        span.status.message = text(draw)
    else:
        setattr(span, draw.choice(("name", "trace_state")), text(draw))
    return span.SerializeToString(), MESSAGES.span(span)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_masked_is_found_first(seed: int) -> None:
    """Names in texts and keys, forms of secrets, parameters, numbers of cards; in long and short values."""
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    for make in (log_record, span) * 20:
        data, rules = make(draw)
        assert LINE.suspicious(data) or not rules, (rules, data[:300])


def test_a_parameter_begins_a_long_text() -> None:
    """A signed query, or an assertion of some kilobytes."""
    for size in (100, 128, 20_000, 3_000_000):
        record = LogRecord()
        record.attributes.add(key="url.query").value.string_value = "SAMLResponse=" + "aB3" * (size // 3)
        assert LINE.suspicious(record.SerializeToString())
        assert MESSAGES.log_record(record) == {"key"}


def nested(draw: random.Random, depth: int) -> bytes:
    """Return an AnyValue of ``depth`` lists and maps in each other, a key of an AWS account at the bottom."""
    value = field(1, b"AKIA" + b"Q3EGZRDLM4XNPYTW")  # in two parts: no scanner of repositories shall cry
    for _ in range(depth):
        pair, twin = (field(1, field(1, b"a"), field(2, v)) for v in (value, field(1, b"twin")))
        value = draw.choice(
            (*[field(5, field(1, value))] * 4, *[field(6, pair)] * 2, field(6, pair, twin), field(6, twin, pair))
        )
    return value


def decoded(signal: Signal, body: bytes, line: SecondLine | None) -> Decoded:
    """Return what becomes of a request."""
    decoding = Decoding(signal, body, Encoding.PROTOBUF, Limits(), 0, line)
    while decoding.turn(100):
        pass
    return decoding.decoded


# Signal, and how resource, scope and record are written with a value or the attribute that has it.
PLACES: dict[str, tuple[Signal, Callable[[bytes, bytes], tuple[bytes, bytes, bytes]]]] = {
    "body": (LOGS, lambda value, _: (b"", b"", field(5, value))),
    "log record": (LOGS, lambda _, pair: (b"", b"", field(6, pair))),
    "span": (TRACES, lambda _, pair: (b"", b"", field(9, pair))),
    "data point": (METRICS, lambda _, pair: (b"", b"", field(5, field(1, field(7, pair))))),
    "resource": (LOGS, lambda _, pair: (field(1, field(1, pair)), b"", b"")),
    "scope": (TRACES, lambda _, pair: (b"", field(1, field(3, pair)), b"")),
}


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), depth=st.integers(28, 52), place=st.sampled_from(list(PLACES)))
def test_how_deep_a_value_may_be_does_not_depend_on_secrets(seed: int, depth: int, place: str) -> None:
    """The same records are rejected, and neither what is stored nor what is kept of a rejected one holds the secret."""
    signal, written = PLACES[place]
    value = nested(random.Random(seed), depth)  # noqa: S311 - reproducible on purpose
    resource, scope, record = written(value, field(1, b"deep") + field(2, value))
    body = field(1, resource, field(2, scope, field(2, record)))

    plain, masked = decoded(signal, body, None), decoded(signal, body, LINE)

    for each in (plain, masked):
        assert [(r.index, r.count) for r in each.rejections] == [(0, 1)] * (depth > Limits().value_depth_max)
    assert len(masked.batch.rows) == len(plain.batch.rows)
    stored = [*masked.batch.rows, *masked.batch.resources.values(), *masked.batch.scopes.values()]
    assert not any(b"AKIA" in row if isinstance(row, bytes) else "AKIA" in repr(row) for row in stored)
    assert b"AKIA" not in LINE.original(signal, record, Encoding.PROTOBUF)
