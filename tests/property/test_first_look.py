"""The compiled first look against the patterns it is made of: what it calls clean, they find nothing in."""

import random
import re
import sys
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from instrumentation.tests import corpus
from otel_ingest import native, redact
from otel_ingest.native.expressions import NotExpressibleError
from otel_ingest.native.search import FirstLook
from otel_ingest.redact import SecondLine
from otel_ingest.redaction import shared_rules
from otel_ingest.redaction.patterns import compile_pattern, linear
from otel_ingest.signals import SIGNALS
from tests.factories import attributes, log_record, logs_request
from tests.generate import Generator

pytestmark = pytest.mark.skipif(not native.available, reason="no C compiler made the library")
LINE = SecondLine(shared_rules())
SEEDS = st.integers(0, 2**32)
SEPARATORS = "_-. /\\'\"\x12\n\x00\xff"
# Both sides of every boundary between the four parts that are gone through at once.
PADDING = range(48)


def looks(data: bytes) -> bool:
    """Return whether the patterns find something; that the first look is right is asserted on the way."""
    found = any(search.search(data) is not None for search in LINE._searches)
    first = LINE._first
    assert first is not None
    assert not (found and first.clean(data)), data
    return found


def request(planted: corpus.Planted) -> bytes:
    """Return the bytes of a log record with a text of the corpus, by name where that gives it away."""
    if (planted.secret and planted.text == planted.secret) or planted.place in {"attribute name", "nested", "header"}:
        record = log_record(attributes=attributes(**{planted.name or "note": planted.secret or planted.text}))
    else:
        record = log_record(body={"string_value": planted.text})
    data: bytes = logs_request([record]).SerializeToString()
    return data


PLANTED = corpus.secrets()
SECRETS = [request(planted) for planted in PLANTED]
LOOK_ALIKES = [request(planted) for planted in corpus.look_alikes()]


def changed(draw: random.Random, text: bytes) -> bytes:
    """Return a text as one would write it who evades: other cases, signs between letters, a byte less or more."""
    out = bytearray()
    share = draw.choice((0.0, 0.02, 0.3))
    for byte in text:
        letter = bytes([byte]).swapcase() if draw.random() < share else bytes([byte])
        out += letter
        while draw.random() < share / 2:
            out += draw.choice(SEPARATORS).encode("latin-1")
    if share:
        del out[draw.randrange(len(out))]
    return bytes(out)


def test_all_rules_are_expressible_with_room_to_grow() -> None:
    """The shared rules take no more than half of what there is room for."""
    assert LINE._first is not None
    assert LINE._first.states < 1 << 14


def test_every_secret_of_the_corpus_at_every_place_of_a_body() -> None:
    """Found, as the patterns find it, wherever the parts of the search begin."""
    found = sum(looks(data) for data in SECRETS)
    assert found == len(SECRETS)
    for number, data in enumerate(SECRETS):
        for padding in PADDING:
            looks(b"\0" * (padding % 7 * 16) + data + b" " * (padding + number % 3))


@settings(max_examples=1_000, deadline=None)
@given(seed=SEEDS)
def test_secrets_spelt_to_evade(seed: int) -> None:
    """In all the ways the patterns know, and in some they do not."""
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    planted = draw.choice(PLANTED)
    name = changed(draw, planted.name.encode() or b"note")
    text = changed(draw, planted.text.encode())
    for data in (draw.choice(SECRETS), name + b"\x12\x04\n\x02" + text, text, name + b"=" + text):
        noise = draw.randbytes(draw.randrange(40))
        looks(noise + data + noise[::-1])
        looks(changed(draw, data))


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_any_request_and_any_bytes(seed: int) -> None:
    """Sound and damaged requests of each signal, and bytes without any sense."""
    generator = Generator(seed)
    data = generator.request(SIGNALS[seed % 3]).SerializeToString()
    for wire in (data, generator.damaged(data), generator.random.randbytes(seed % 3000), data[:20]):
        looks(wire)


def test_look_alikes_and_clean_requests_are_looked_at_again_no_more_than_needed() -> None:
    """What the first look does not call clean is what a pattern matches, but for names that go on for long."""
    clean = [generator_bytes(seed) for seed in range(600)] + LOOK_ALIKES
    first = LINE._first
    assert first is not None
    again = sum(not first.clean(data) and not looks(data) for data in clean)
    print(f"{again} of {len(clean)} are searched again for nothing", file=sys.stderr)
    assert again == 0


def generator_bytes(seed: int) -> bytes:
    """Return a sound request."""
    data: bytes = Generator(seed).request(SIGNALS[seed % 3]).SerializeToString()
    return data


def test_matches_that_never_end_take_no_longer() -> None:
    """Where a name might go on to the end of a body, again and again, the patterns are asked."""
    first = LINE._first
    assert first is not None
    assert not first.clean(b"key" * 50_000)
    assert first.clean(b"key " * 50_000)
    assert not LINE.suspicious(b"key" * 50_000)


def expressions() -> st.SearchStrategy[str]:
    """Return patterns of what is known, over few bytes, so that texts often match."""
    atoms = st.sampled_from(("a", "b", "\\x00", "[ab]", "[^a]", "[a-c_]", "\\.", "[\\s\\S]", "(?i:B)", "\\d", "\\W"))
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=4).map("".join),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
            st.tuples(inner, st.sampled_from(("*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"))).map(
                lambda pair: f"(?:{pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=8,
    )


@pytest.mark.skipif(not linear(), reason="an engine that goes back may take for ever")
@settings(max_examples=250, deadline=None)
@given(patterns=st.lists(expressions(), min_size=1, max_size=3), ignore_case=st.booleans(), seed=SEEDS)
def test_any_pattern(patterns: list[str], ignore_case: bool, seed: int) -> None:
    """With repetitions as near as these, the compiled search says exactly what an engine says."""
    engines = [compile_pattern(pattern, "i" if ignore_case else "") for pattern in patterns]
    given_ = [(pattern, ignore_case) for pattern in patterns]
    if any(engine.match(b"") for engine in engines):
        with pytest.raises(NotExpressibleError, match="everywhere"):
            FirstLook(given_)
        return
    try:
        first = FirstLook(given_)
    except NotExpressibleError as error:
        assume("room" not in str(error))
        raise
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    for size in range(40):
        data = bytes(draw.choices(b"aAbBc_.1 \0\xff", k=size))
        assert first.clean(data) == (not any(engine.search(data) for engine in engines)), data


def test_a_word_that_ends() -> None:
    """A boundary behind a word's last letter is known, any other one is not."""
    first = FirstLook([("pass(?:w|\\b)[a-z.]*=", False)])

    assert [first.clean(text) for text in (b"pass=", b"password=", b"passing=", b"pass.x=", b"pass")] == [
        *(False, False, True, False, True)
    ]
    for pattern in ("\\bpass", "[.]\\bpass", "a\\b\\b=", "a?\\b="):
        with pytest.raises(NotExpressibleError):
            FirstLook([(pattern, False)])


@pytest.mark.parametrize(
    "pattern", ["^a", "a$", "a+?", "(?=a)b", "(a", "a)", "[a", "[]", "[b-a]", "a**", "é", "\\1", "a\\"]
)
def test_what_is_not_known_is_left_to_another_engine(pattern: str) -> None:
    """Never read as something else."""
    with pytest.raises(NotExpressibleError):
        FirstLook([(pattern, False)])


def test_patterns_of_more_states_than_there_is_room_for() -> None:
    """Said at once; then the patterns are searched as without a compiler."""
    many = "|".join(f"[^{a}][^{b}]{c}[^{a}]{b}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuv")

    with pytest.raises(NotExpressibleError):
        FirstLook([(many, False)])
    assert redact._first_look([(many, False)], ("a", False), "b") is None


def test_without_the_library_the_patterns_alone_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same answers."""
    monkeypatch.setattr(native, "available", False)
    line: Any = SecondLine(shared_rules())

    assert line._first is None
    assert all(line.suspicious(data) for data in SECRETS[:20])
    assert all(LINE.suspicious(data) for data in SECRETS[:20])


def statement(key: str, text: str) -> bytes:
    """Return the bytes of a record that has a statement."""
    record = LogRecord()
    record.attributes.add(key=key).value.string_value = text
    return record.SerializeToString()


def test_a_statement_counts_where_a_literal_is_in_it() -> None:
    """Of any length, wherever in it; what is no text, or cut off, is looked at again."""
    first, rules = LINE._first, shared_rules()
    assert first is not None
    literal = re.compile(rules["sql"]["literal"])
    for key in rules["sql"]["keys"]:
        for text in ("a = $1", "b = ? AND c = %s", "'", "a = 'x'", 'a =  "x"', 'a = x"', "$$x$$", "$x", "it''s"):
            for size in (0, 1, 100, 127, 128, 300, 17_000):
                for whole in (text + " " * size, " " * size + text):
                    assert first.clean(statement(key, whole)) == (literal.search(whole) is None), whole
        assert first.clean(statement(key, "") + statement("x", "'a'") + statement(key, "b") * 3)
        assert not first.clean(statement(key, "") * 2 + statement("x", "'a'") + statement(key, "'"))
        data = statement(key, "a = 1 " * 30)
        assert first.clean(data)
        begun = data.index(b"\x12", 10) + 1
        assert not any(first.clean(data[:size]) for size in range(begun, len(data)))
        assert not first.clean(data[: begun + 2] + b"\x3a" + data[begun + 3 :])  # bytes
        assert not first.clean(data[:1] + b"\x7f" + data[2:])  # more in it than a key and a value
        assert not first.clean(data[:begun] + b"\xff" * 12 + data[begun:])


def test_statements_within_statements_take_no_longer() -> None:
    """Each is searched but once; of more the patterns are asked."""
    first, name = LINE._first, b"db.statement\x12"
    assert first is not None
    data = b"".join(name + b"\xff\xff\x7f\n\xfb\xff\x7f" for _ in range(50_000)) + b"x" * (3 << 20)

    assert not first.clean(data)


def test_names_that_are_found_by_another_one_are_found() -> None:
    """Every exact name, though the pattern holds but some of them."""
    for name in shared_rules()["names"]["exact"]:
        assert looks(b"\n" + bytes([len(name)]) + name.upper().encode() + b"\x12\x03\n\x01x"), name
