"""A trace of 100,000 spans on the page: bounded in bytes and in elements, and all of it within reach."""

import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import launched, tab
from tests.harness import running
from tests.telling import LARGE_TRACE as TRACE
from tests.telling import large_trace

SPANS = 100_000


@pytest.mark.slow
def test_a_trace_of_100000_spans(tmp_path: Path) -> None:
    """The page is under 200 KB and its rows come in under 2 MB; the last row is one key away, and few are elements."""
    tmp_path.chmod(0o711)
    with running(tmp_path / "data") as server, launched() as browser:
        large_trace(server, SPANS)
        assert len(server.get(f"/trace/{TRACE}")) < 200_000
        request = urllib.request.Request(f"http://{server.query}/trace/{TRACE}/shape.json")
        request.add_header("Authorization", f"Bearer {server.token()}")
        request.add_header("Accept-Encoding", "gzip")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            assert len(answer.read()) < 2_000_000
        with tab(browser, server) as opened:
            page = opened.open(f"/trace/{TRACE}")
            tree = page.get_by_role("tree")
            expect(tree.locator(".w").first).to_be_visible(timeout=60_000)
            tree.focus()
            page.keyboard.press("End")
            expect(page.locator(f"#w{SPANS - 1}.at")).to_be_visible()
            assert page.locator(".w").count() < 120
            page.keyboard.press("e")
            expect(page.locator(".at")).to_contain_text("failed")
