"""How much memory the embedded PostgreSQL keeps pages in."""

from pathlib import Path

import pytest

from storage import embedded_memory

_GIB = 2**30


@pytest.mark.parametrize(
    ("memory_bytes", "mib"),
    [(0, 128), (_GIB, 128), (2 * _GIB, 256), (8 * _GIB - 1, 1023), (8 * _GIB, 1024), (512 * _GIB, 1024)],
)
def test_an_eighth_between_bounds(memory_bytes: int, mib: int) -> None:
    """Never less than PostgreSQL's own default, never more than what an open day needs."""
    assert embedded_memory.shared_buffers_mib(memory_bytes) == mib


def _machine(root: Path, limit: str, line: str = "0::/jobs/one") -> int:
    own = root / "cgroup" / "jobs" / "one"
    (root / "proc" / "self").mkdir(parents=True)
    own.mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(f"4:memory:/jobs\n{line}\n")
    (own / "memory.max").write_text(f"{limit}\n")
    return embedded_memory.memory_bytes(root / "proc", root / "cgroup")


def test_a_container_has_what_it_may_take(tmp_path: Path) -> None:
    """The limit of the own cgroup counts where it is less than the machine's memory."""
    assert _machine(tmp_path, str(300 * 2**20)) == 300 * 2**20


@pytest.mark.parametrize(("limit", "line"), [("max", "0::/jobs/one"), (str(2**62), "0::/jobs/one"), ("1", "0::/other")])
def test_without_a_limit_the_machine_counts(tmp_path: Path, limit: str, line: str) -> None:
    """No limit, one beyond the machine, or none to be read: what the machine has."""
    assert _machine(tmp_path, limit, line) == embedded_memory.memory_bytes(tmp_path / "nothing", tmp_path)
    assert embedded_memory.memory_bytes() >= 128 * 2**20


def test_a_limit_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Without cgroups there is no limit."""
    assert embedded_memory.memory_bytes(tmp_path, tmp_path) > 0
