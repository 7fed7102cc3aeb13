"""Malice in every field of a log record and a span: shown as text in each view, inert in each file."""

import csv
import io
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import launched, tab
from tests.harness import Server, running
from tests.telling import MALICE, malice


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server that holds nothing but malice."""
    directory: Path = tmp_path_factory.mktemp("page")
    directory.parent.chmod(0o711)
    directory.chmod(0o711)
    with running(directory / "data") as server:
        assert malice(server, time.time_ns()) == "ab" * 16
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield one browser for this module."""
    with launched() as browser:
        yield browser


PATHS = (
    "/logs",
    "/logs?record={id}",
    "/record/{id}",
    "/record/{id}?around=everyone",
    "/logs?component={malice}",
    "/logs?facet=*",
    "/logs?facet=@{malice}",
    "/traces",
    "/components",
    "/patterns",
    "/trace/" + "ab" * 16,
    "/trace/" + "ab" * 16 + "?span=" + "cd" * 8,
)


@pytest.mark.parametrize("with_policy", [True, False])
def test_nothing_a_record_says_runs(browser: Browser, server: Server, *, with_policy: bool) -> None:
    """No view runs it, with the policy of the page and without: escaping alone holds, and so does the policy."""
    ids = [r["id"] for r in json.loads(server.get("/logs.json"))["records"]]
    assert len(ids) == 3
    with tab(browser, server, bypass_csp=not with_policy) as opened:
        for path in PATHS:
            page = opened.open(path.format(id=ids[0], malice=urllib.parse.quote(MALICE)))
            expect(page.locator("main")).to_contain_text("window.pwned=1")
            page.mouse.move(300, 420)
            opened.complaints = [c for c in opened.complaints if "404" not in c]
            opened.assert_clean()
            assert (
                page.locator("main :is(script, img, iframe, object, [onmouseover], [onload], [onerror])").count() == 0
            )
            if "trace/" in path:
                expect(page.locator(".wf.live .w").first).to_be_visible()
            text = page.locator("body").inner_text()
            assert not {"\u202e", "\x1b", "\x07", "\u2028"} & set(text)
            assert re.search("ESC|001B|001b", text), path
            assert re.search("202[eE]", text), path


def test_opened_and_followed_in_place(browser: Browser, server: Server) -> None:
    """What scripts of the page add later is as inert: a record opened in its row, a record of the tail."""
    with tab(browser, server) as opened:
        page = opened.open("/logs")
        page.locator(".row .msg").first.click()
        expect(page.locator(".detail")).to_contain_text("window.pwned=1")
        page.keyboard.press("t")
        expect(page.locator("#tail-state")).to_have_text("following")
        malice(server, time.time_ns())
        expect(page.locator(".row.fresh").first).to_contain_text("window.pwned=1")
        assert page.locator("main :is(script, img)").count() == 0


def test_twins_hold_no_markup(server: Server) -> None:
    """JSON and JSON lines have no "<" at all, and still say what was sent."""
    trace = "/trace/" + "ab" * 16
    for path in (
        trace + ".json",
        trace + "/shape.json",
        trace + "/span/" + "cd" * 8 + ".json",
        "/traces.json",
        "/components.json",
    ):
        body = server.get(path)
        assert b"<" not in body
        assert b"window.pwned=1" in body
    for path in ("/logs.json", "/logs.jsonl"):
        body = server.get(path)
        assert b"<" not in body
        record = json.loads(body.splitlines()[0]) if path.endswith("l") else json.loads(body)["records"][0]
        assert record["component"] == MALICE


def test_a_spreadsheet_computes_nothing(server: Server) -> None:
    """No cell of the CSV begins as a formula does."""
    rows = list(csv.reader(io.StringIO(server.get("/logs.csv").decode())))
    assert any(cell == '\'=HYPERLINK("http://x","y")' for row in rows for cell in row)
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]


def test_an_event_of_the_tail_cannot_be_ended_by_a_record(server: Server) -> None:
    """Each event is one line of JSON, whatever line ends a record holds."""
    request = urllib.request.Request(f"http://{server.query}/logs/tail")
    request.add_header("Authorization", f"Bearer {server.token()}")
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        malice(server, time.time_ns())
        seen = []
        while len(seen) < 3:
            line = answer.readline().decode()
            assert line.startswith(("id: ", "data: ", "retry: ", ": ", "\n")), line
            if line.startswith("data: "):
                seen.append(json.loads(line[6:])["component"])
    assert set(seen) == {MALICE}
