"""Every check of the conformance table, on each transport that has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.client import Target, target
from tests.contract.conformance import REQUIREMENTS, Check


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Yield a running server for all checks."""
    directory: Path = tmp_path_factory.mktemp("conformance")
    with target(directory) as running:
        yield running


APPLICABLE = [
    pytest.param(check, id=f"{requirement.id}-{transport}")
    for requirement in REQUIREMENTS
    for transport in ("http", "grpc")
    if not isinstance(check := getattr(requirement, transport), str)
]


@pytest.mark.parametrize("check", APPLICABLE)
def test_requirement(server: Target, check: Check) -> None:
    """The server answers as the specification says."""
    check(server)


def test_the_table_is_whole() -> None:
    """45 checks, each shown by at least one transport or with a reason on both."""
    assert [r.id for r in REQUIREMENTS] == [f"C{n}" for n in range(1, 46)]
    without = [r.id for r in REQUIREMENTS if isinstance(r.http, str) and isinstance(r.grpc, str)]
    assert without == ["C5"]
