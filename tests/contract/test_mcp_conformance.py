"""The MCP project's own conformance suite: every scenario that applies to this server passes, at both revisions."""

from collections.abc import Iterator

import pytest

from tests import harness
from tests.contract import mcp_fixtures, mcp_suite
from tests.contract.mcp_scenarios import EXPECTED_CHECKS, LEFT_OUT, NEW, OLD, REVISIONS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def suite() -> None:
    """Have the suite installed; skip where there is no Node that is new enough, or nothing to install from."""
    if mcp_suite.node() is None:
        pytest.skip("no Node 22 here: run `make mcp-conformance`, which installs one")
    if said := mcp_suite.install(with_node=False):
        pytest.skip(f"the suite cannot be installed here: {said[-300:]}")


@pytest.fixture(scope="module")
def url(suite: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a server's /mcp that needs no token."""
    del suite
    with (
        harness.running(tmp_path_factory.mktemp("suite") / "data") as server,
        mcp_suite.with_token(server.query, server.token()) as address,
    ):
        yield address


def test_every_scenario_that_applies_passes(url: str) -> None:
    """One failure does not hide the others."""
    results = {(name, revision): mcp_suite.run(url, name, revision) for name, revision in mcp_suite.applying()}

    assert {revision for _, revision in results} == set(REVISIONS)
    assert len(results) >= 18
    assert not {key: result.said for key, result in results.items() if not result.passed}


@pytest.mark.usefixtures("suite")
def test_what_is_left_out_is_still_in_the_suite() -> None:
    """An entry for a scenario, or a revision of it, that the suite no longer has is stale; none lacks its reason."""
    known = mcp_suite.scenarios()
    entries = {(name, revision) for name, reasons in LEFT_OUT.items() for revision in reasons}
    stale = {(name, revision) for name, revision in entries if revision not in known.get(name, set())}

    assert len(known) >= 60
    assert not stale
    assert all(reason for reasons in LEFT_OUT.values() for reason in reasons.values())
    assert set(EXPECTED_CHECKS) <= set(mcp_suite.applying())


@pytest.mark.parametrize(("scenario", "revision"), [("tools-call-image", OLD), ("prompts-get-simple", NEW)])
def test_the_runner_can_fail(url: str, scenario: str, revision: str) -> None:
    """What the server does not have is reported as failed: the runner does not take everything for a pass."""
    assert not mcp_suite.run(url, scenario, revision).passed


@pytest.mark.usefixtures("suite")
def test_our_wrapping_changes_no_answer() -> None:
    """The same application with the suite's fixtures: what a server sends comes out of it as it went in."""
    known = mcp_suite.scenarios()
    with mcp_fixtures.serving() as query, mcp_suite.with_token(query, mcp_fixtures.TOKEN) as address:
        results = {
            (name, revision): mcp_suite.run(address, name, revision)
            for name in mcp_fixtures.SCENARIOS
            for revision in sorted(set(REVISIONS) & known[name])
        }

    assert len(results) == 2 * len(mcp_fixtures.SCENARIOS)
    assert not {key: result.said for key, result in results.items() if not result.passed}
