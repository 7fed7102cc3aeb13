"""A few hundred bodies of what ``make fuzz`` tries by the million."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ingest.signals import SIGNALS, Signal
from otel_ingest.wire import Encoding
from tests.fuzz.__main__ import Tally, read
from tests.fuzz.target import Input, Source, check
from tests.generate import Generator, json_body


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_body_is_rows_and_rejections_or_an_error_of_ours(seed: int) -> None:
    """The examples of the specification and requests of every field, damaged, spliced, sent elsewhere."""
    source = Source(seed, requests=3)
    for _ in range(30):
        check(source.draw())


@settings(max_examples=300, deadline=None)
@given(signal=st.sampled_from(SIGNALS), encoding=st.sampled_from(Encoding), body=st.binary(max_size=100))
def test_any_bytes_at_all(signal: Signal, encoding: Encoding, body: bytes) -> None:
    """Without any shape."""
    check(Input(signal, encoding, body))


@pytest.mark.parametrize("signal", SIGNALS)
def test_what_is_generated_reaches_every_outcome(signal: Signal) -> None:
    """A generator of nothing but refused requests would prove nothing."""
    source, seen = Source(7), set()
    for _ in range(600):
        case = source.draw()
        if case.signal is signal:
            seen.add(check(case).kind)

    assert seen == {"stored", "partial", "rejected", "empty", "malformed"}


def test_a_generated_request_is_the_same_in_both_encodings() -> None:
    """Most are stored whole, and never is the JSON of a request malformed."""
    kinds = []
    for seed in range(100):
        message = Generator(seed).request(SIGNALS[seed % 3])
        kinds.append(check(Input(SIGNALS[seed % 3], Encoding.JSON, json_body(message))).kind)

    assert "malformed" not in kinds
    assert kinds.count("stored") > 20


def test_a_crash_is_kept_and_can_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file says what it was sent as."""
    case = Input(SIGNALS[0], Encoding.PROTOBUF, b"\x0a\x00")
    monkeypatch.setattr("tests.fuzz.target.parse", lambda *_: 1 / 0)
    tally = Tally()

    tally.run(case, tmp_path)

    (path,) = tally.crashes
    assert "ZeroDivisionError" in tally.crashes[path]
    assert read(tmp_path / path) == case
