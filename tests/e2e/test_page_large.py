"""A trace of 100,000 spans on the page: bounded in bytes and in elements, and all of it within reach."""

import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import launched, tab
from tests.factories import span, traces_request
from tests.harness import Server, running

SPANS, A_REQUEST = 100_000, 10_000
TRACE = "ef" * 16


def _send(server: Server) -> None:
    """Send a trace of SPANS spans, three levels deep, every thousandth failed."""
    start = time.time_ns()
    for first in range(0, SPANS, A_REQUEST):
        told = []
        for n in range(first, first + A_REQUEST):
            parent = b"" if n == 0 else (1 if n % 100 == 0 else n // 100 * 100 + 1).to_bytes(8, "big")
            begins = start + n * 10_000
            edges = {"start_time_unix_nano": begins, "end_time_unix_nano": begins + (2 * 10**9 if n == 0 else 900_000)}
            status = {"code": 2, "message": "no"} if n % 1000 == 999 else {"code": 0}
            told.append(
                span(
                    trace_id=bytes.fromhex(TRACE), span_id=(n + 1).to_bytes(8, "big"), parent_span_id=parent,
                    name=f"step {n % 50}", status=status, **edges,
                )
            )  # fmt: skip
        request = traces_request(told).SerializeToString()
        assert server.post("/v1/traces", request, "application/x-protobuf")[0] == 200


@pytest.mark.slow
def test_a_trace_of_100000_spans(tmp_path: Path) -> None:
    """The page is under 200 KB and its rows come in under 2 MB; the last row is one key away, and few are elements."""
    tmp_path.chmod(0o711)
    with running(tmp_path / "data") as server, launched() as browser:
        _send(server)
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
