"""One component that floods does not starve the rest."""

import pytest

from otel_ingest.errors import Overloaded
from otel_ingest.fair_queue import TURN_BYTES, FairQueue
from otel_ingest.rate_limit import ComponentRates
from tests.rig import MIB


def test_a_flood_waits_behind_its_own() -> None:
    """1,000 large requests first; the small ones of others leave with the very next commit."""
    queue: FairQueue[str] = FairQueue()
    for _ in range(1_000):
        queue.put("flood", "log_records", "flood", MIB)
    for n in range(100):
        queue.put("small", "log_records", f"quiet-{n}", 1024)

    first = queue.take(16 * MIB)

    assert first.count("small") == 100
    assert 14 <= first.count("flood") <= 16


def test_turns_are_by_bytes() -> None:
    """A component of many small requests gets as many bytes as one of few large ones."""
    queue: FairQueue[str] = FairQueue()
    for _ in range(64):
        queue.put("large", "t", "large", TURN_BYTES)
        for _ in range(8):
            queue.put("small", "t", "small", TURN_BYTES // 8)

    taken = queue.take(8 * TURN_BYTES)

    assert taken.count("large") == pytest.approx(4, abs=1)
    assert taken.count("small") == pytest.approx(32, abs=8)


def test_order_within_a_component_and_nothing_lost() -> None:
    """First in, first out, whatever the sizes; tables take turns."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for n in range(50):
        for component in "abc":
            queue.put((component, n), "logs", component, (n * 7919) % (3 * TURN_BYTES))
        queue.put(("spans", n), "spans", "a", 10)
    taken: list[tuple[str, int]] = []
    batches = []
    while queue:
        batch = queue.take(MIB)
        batches.append(batch)
        taken += batch

    assert len(taken) == 200
    for component in ("a", "b", "c", "spans"):
        assert [n for c, n in taken if c == component] == list(range(50))
    assert batches[1][0][0] == "spans"
    assert queue.take(MIB) == []


def test_one_larger_than_everything_leaves() -> None:
    """An item over the size of a batch and of a turn goes alone, in its turn."""
    queue: FairQueue[str] = FairQueue()
    queue.put("huge", "t", "a", 80 * MIB)
    queue.put("next", "t", "b", 10)

    assert sorted(queue.take(MIB) + queue.take(MIB)) == ["huge", "next"]


def test_some_are_taken_out() -> None:
    """Those that wait no longer leave from wherever they are; the order of the others stays."""
    queue: FairQueue[int] = FairQueue()
    for n in range(20):
        queue.put(n, n % 2, f"component-{n % 3}", 10)

    assert sorted(queue.remove(lambda n: n >= 10)) == list(range(10, 20))
    assert sorted(queue.take(MIB) + queue.take(MIB)) == list(range(10))
    queue.put(1, "t", "a", 1)
    assert queue.remove(lambda _: True) == [1]
    assert not queue


def test_rate_of_a_component() -> None:
    """Past the rate it is refused, with nothing charged to the others of its request; time lets it go on."""
    rates = ComponentRates(1_000)
    rates.take({"a": 5_000}, 0.0)
    with pytest.raises(Overloaded, match="component_bytes_per_s_max"):
        rates.take({"b": 1_500, "a": 1}, 1.0)
    rates.take({"b": 1_999}, 1.0)
    rates.take({"b": 1}, 1.0)
    with pytest.raises(Overloaded):
        rates.take({"a": 1}, 3.0)

    rates.take({"a": 1}, 3.1)


def test_no_rate_by_default() -> None:
    """0 refuses nobody."""
    rates = ComponentRates(0)
    for _ in range(10):
        rates.take({"a": 1 << 40}, 0.0)
