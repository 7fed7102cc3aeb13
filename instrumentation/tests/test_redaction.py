"""Redaction: the shared table of vectors on both engines, and what must hold for any input."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ingest_instrumentation.redaction import Options, Redactor, patterns, shared_rules

VECTORS = json.loads((Path(__file__).parents[1] / "redaction" / "vectors.json").read_text())["cases"]


REDACTOR = Redactor(shared_rules())


def options_of(raw: Mapping[str, Any]) -> Options:
    """Return the options of a vector."""
    kinds: dict[str, Any] = {
        "enable": frozenset,
        "disable": frozenset,
        "only": frozenset,
        "hash_key": str.encode,
        "mode": str,
    }
    return Options(**{key: kinds.get(key, tuple)(value) for key, value in raw.items()})


@pytest.fixture(params=["re2", "stdlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a pattern engine that is in force for the test."""
    if request.param == "stdlib":
        monkeypatch.setattr(patterns, "re2", None)
    elif not patterns.linear():
        pytest.skip("no google-re2 here")
    return str(request.param)


def redact(redactor: Redactor, place: str, value: Any) -> tuple[Any, list[str]]:
    """Return the output and what was found."""
    found: set[str] = set()
    out = redactor.value(value, "body", found) if place == "text" else redactor.mapping(value, "", found)
    return out, sorted(found)


def test_vectors(engine: str) -> None:
    """Every vector comes out as the table says, and redacting it again changes nothing."""
    default = Redactor(shared_rules())
    for case in VECTORS:
        redactor = Redactor(shared_rules(), options_of(case["options"])) if "options" in case else default
        out, found = redact(redactor, case["place"], case["input"])
        assert (out, found) == (case["output"], case["found"]), (engine, case["name"])
        if "options" not in case:
            assert redact(redactor, case["place"], out) == (out, []), case["name"]


SHAPES = st.lists(
    st.sampled_from(
        [*"0123456789", "eyJ", "AKIA", "tatt3x", "sk_live_", "pass", "=", " ", "?", "code=", "-", "4111 ", "/", "a"]
    )
)


@given(pieces=SHAPES, digits=st.lists(st.sampled_from("0123456789"), min_size=80, max_size=80))
def test_what_is_known_by_its_shape_is_clean_with_any_digits(pieces: list[str], digits: list[str]) -> None:
    """A text that differs from a learnt one by its digits alone is never passed where a rule would have matched."""
    redactor = REDACTOR
    text = "".join(pieces)
    other = "".join(digits[i % 80] if c.isdecimal() and c.isascii() else c for i, c in enumerate(text))
    for _ in range(3):
        redactor.clean([text], {})
    found: set[str] = set()
    redactor.text(other, "body", found)
    assert not (found and redactor.clean([other], {}))


def test_every_secret_of_the_table_is_seen_though_its_shape_was_shown_before() -> None:
    """Its digits all made 1 (no card number then, and no known key), it is shown until it could be known."""
    redactor = Redactor(shared_rules())
    for case in VECTORS:
        if case["place"] == "text" and case["found"] and "options" not in case:
            for _ in range(3):
                redactor.clean([re.sub("[0-9]", "1", case["input"])], {})
            assert not redactor.clean([case["input"]], {}), case["name"]


def test_messages_that_differ_by_their_digits_are_known() -> None:
    """From the third on no rule is run."""
    redactor = Redactor(shared_rules())
    for i in range(2):
        assert redactor.clean([f"order {i} of user-{i}, GET /x?page={i}"], {})
    assert redactor._text.shapes.knows("order 7 of user-9, GET /x?page=3")


HOSTILE = [
    "a" * 100_000,
    "password=" * 20_000,
    'password="' * 20_000,
    "eyJ" * 40_000,
    "eyJaaaaaa." * 20_000,
    "4111 " * 20_000,
    "4" * 100_000,
    "://" * 40_000,
    "://a:" * 20_000,
    "insert into x(" * 10_000,
    "-----BEGIN PRIVATE KEY-----" * 4_000,
    "<password>" * 20_000,
    "--password " * 10_000,
    "password='" + "\\" * 100_000,
    "key" * 30_000 + " :",
    "key" * 30_000,
    "eyJaaaaaa" * 10_000,
    "https://u:" + "p" * 100_000,
    "<a>" + "b" * 100_000,
    "-----BEGIN PRIVATE KEY-----" + "-a" * 50_000,
    "password " * 20_000,
    "[parameters: '" * 10_000,
    "identified " * 10_000,
    "sk-" * 30_000,
    "DE89" * 20_000,
    "a@a." * 20_000,
]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: t[:16])
def test_time_is_linear_in_the_input(text: str) -> None:
    """100 kB made to hurt take a bounded time: quadratic patterns would take minutes (the suite's time-out)."""
    redactor = Redactor(shared_rules(), Options(enable=frozenset({"email", "iban"})))

    redact(redactor, "text", text)


@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_any_text_is_redacted_without_error(text: str) -> None:
    """No text makes redaction fail, and a second pass finds nothing new."""
    out, _ = redact(REDACTOR, "text", text)

    assert redact(REDACTOR, "text", out)[0] == out


REDACTOR = Redactor(shared_rules())
SECRET = st.from_regex(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9!#%()*+./:=?@^_|~-]{7,30}[0-9]", re.ASCII), fullmatch=True
).filter(lambda s: not s.startswith(("REDACTED", "self.", "cls.")))


@given(secret=SECRET, name=st.sampled_from(["password", "API_KEY", "clientSecret", "x-auth-token", "db.passwd"]))
@pytest.mark.parametrize(
    "form",
    [
        "{n}={s}",
        "a {n}: {s} b",
        '{{"{n}": "{s}"}}',
        "?a=1&{n}={s}",
        "{{'{n}': '{s}', 'b': 1}}",
        '{{\\"{n}\\":\\"{s}\\"}}',
    ],
)
def test_a_named_secret_never_stays(form: str, secret: str, name: str) -> None:
    """Whatever a secret is made of, it is gone from every form that names it."""
    out, found = redact(REDACTOR, "text", form.format(n=name, s=secret))

    assert secret not in out
    assert found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(mode="shred"), "none of mask, drop, hash"),
        (Options(mode="hash"), "needs a key"),
        (Options(enable=frozenset({"nonsense"})), "no such redaction rule: nonsense"),
    ],
)
def test_senseless_options_are_refused(options: Options, words: str) -> None:
    """A wrong option is an error with a sentence, never silently no redaction."""
    with pytest.raises(ValueError, match=words):
        Redactor(shared_rules(), options)
