"""What the rules would mask in a message, the search of its bytes finds: whatever the lengths, wherever it stands."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
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


def nested(draw: random.Random, depth: int) -> AnyValue:
    """Return a value of ``depth`` lists and maps in each other, a key of an AWS account at the bottom."""
    value = AnyValue(string_value="AKIA" + "Q3EGZRDLM4XNPYTW")  # in two parts: no scanner of repositories shall cry
    for _ in range(depth):
        if draw.random() < 0.5:
            value = AnyValue(array_value={"values": [value]})
        else:
            value = AnyValue(kvlist_value={"values": [{"key": "a", "value": value}] * draw.choice((1, 1, 1, 2))})
            if len(value.kvlist_value.values) > 1:
                value.kvlist_value.values[draw.randrange(2)].value.CopyFrom(AnyValue(string_value="twin"))
    return value


def decoded(signal: Signal, body: bytes, line: SecondLine | None) -> Decoded:
    """Return what becomes of a request."""
    decoding = Decoding(signal, body, Encoding.PROTOBUF, Limits(), 0, line)
    while decoding.turn(100):
        pass
    return decoding.decoded


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), depth=st.integers(28, 37), place=st.integers(0, 7))
def test_how_deep_a_value_may_be_does_not_depend_on_secrets(seed: int, depth: int, place: int) -> None:
    """The same records are rejected, and neither what is stored nor what is kept of a rejected one holds the secret."""
    signal = (LOGS, TRACES, METRICS)[place % 3]
    request = signal.request_type()
    groups, scopes, records = signal.lists
    group = getattr(request, groups).add()
    envelope = getattr(group, scopes).add()
    record = getattr(envelope, records).add()
    holder = record.gauge.data_points.add(as_int=1) if signal is METRICS else record
    value = nested(random.Random(seed), depth)  # noqa: S311 - reproducible on purpose
    if place == 0:
        record.body.CopyFrom(value)
    else:
        pairs = {6: group.resource.attributes, 7: envelope.scope.attributes}.get(place, holder.attributes)
        pairs.add(key="deep").value.CopyFrom(value)
    body = request.SerializeToString()

    plain, masked = decoded(signal, body, None), decoded(signal, body, LINE)

    assert masked.rejections == plain.rejections
    assert len(masked.rejections) == (depth > Limits().value_depth_max)
    assert len(masked.batch.rows) == len(plain.batch.rows)
    stored = [*masked.batch.rows, *masked.batch.resources.values(), *masked.batch.scopes.values()]
    assert not any(b"AKIA" in row if isinstance(row, bytes) else "AKIA" in repr(row) for row in stored)
    assert b"AKIA" not in LINE.original(signal, record.SerializeToString(), Encoding.PROTOBUF)
