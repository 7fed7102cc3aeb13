"""Templates of messages: every message has the form of its template, counts add up, the same input mines the same."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_tools.masking import masked, shape
from mcp_tools.mining import Miner, matches
from mcp_tools.pattern_table import mark_changes, patterns_of
from storage.views import LogNode

word = st.sampled_from(["user", "order", "failed", "opened", "closed", "17", "id=4", "timeout", "in", "ms", "8f2c41aa"])
messages = st.lists(st.lists(word, max_size=9).map(" ".join) | st.text(max_size=40), max_size=60)


def log(body: str, at: int = 0, component: str = "shop", severity: int = 9) -> LogNode:
    """Return a record that says ``body``."""
    return LogNode(
        id=at + 1, time_ns=at, component=component, severity_number=severity, severity_text="", body=body,
        body_chars=len(body), span_id=None,
    )  # fmt: skip


@settings(max_examples=500)
@given(st.text(alphabet="0123456789abfx-+:.,TZ g\u0663", max_size=60) | st.text(max_size=60))
def test_messages_of_one_shape_are_masked_alike(message: str) -> None:
    """So that a shape seen before need not be masked again."""
    assert masked(shape(message)) == masked(message)


@given(messages)
def test_every_message_has_the_form_of_its_template(bodies: list[str]) -> None:
    """Whatever came before and after it; and the counts are those of the messages."""
    miner = Miner()
    places = [miner.add(body) for body in bodies]

    assert all(matches(str(miner.templates[i]), body) for i, body in zip(places, bodies, strict=True))
    assert sum(t.count for t in miner.templates) == len(bodies)
    again = Miner()
    assert [again.add(body) for body in bodies] == places


@given(messages, messages)
def test_patterns_stand_for_every_record_once(bodies: list[str], before: list[str]) -> None:
    """Counts of both windows add up; what is new has none before, what is gone has none now."""
    found, total, base = patterns_of([log(b, i) for i, b in enumerate(bodies)], [log(b) for b in before], 0, 100)

    assert (total, base) == (len(bodies), len(before))
    assert sum(p.count for p in found) == total
    assert sum(p.base_count for p in found) == base
    assert all(sum(p.bins) == p.count for p in found)
    for p in mark_changes(found, total, base):
        assert (p.change == "new") is (p.base_count == 0)
        assert (p.change == "gone") is (p.count == 0 and p.base_count > 0)


def test_values_vary_and_words_do_not() -> None:
    """Numbers, ids, quoted and assigned values become one pattern; another verb is another pattern."""
    miner = Miner()
    rng = random.Random(7)  # noqa: S311 - no secret
    for n in range(300):
        miner.add(
            f"order {n} of user u{n % 13} paid in {rng.random():.3f} s via {rng.choice(['card', 'invoice'])} gateway"
        )
        miner.add(f"connection opened to 10.0.0.{n % 255}:5432")
        miner.add(f"connection closed to 10.0.0.{n % 255}:5432")
        miner.add(f'failed to parse "{rng.randbytes(6).hex()}" at offset={n}')

    assert sorted((t.count, str(t)) for t in miner.templates) == [
        (300, "connection closed to <ip>"),
        (300, "connection opened to <ip>"),
        (300, 'failed to parse "<hex>" at offset=<n>'),
        (300, "order <n> of user u<n> paid in <n> s via <*> gateway"),
    ]


def test_what_is_masked() -> None:
    """Ids, addresses, times and numbers; words and versions of names stay."""
    assert masked("GET /orders/17 took 12.5ms") == "GET /orders/<n> took <n>ms"
    assert masked("id 4bf92f35-77b3-4da6-a3ce-929d0e0e4736 at 2026-11-27T10:00:00.123Z") == "id <uuid> at <time>"
    assert masked("0xdeadbeef deadbeef 4bf92f3577b34da6") == "<hex> deadbeef <hex>"


def test_many_unlike_messages_stay_quick_and_bounded() -> None:
    """Twenty thousand messages of unlike words do not make twenty thousand templates."""
    rng = random.Random(1)  # noqa: S311 - no secret
    words = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(400)]
    miner = Miner()
    for _ in range(3_000):
        miner.add("start " + " ".join(rng.choices(words, k=6)))

    assert len(miner.templates) <= 100
