"""A real Chromium, driven by Playwright: found on PATH or in CHROMIUM, a fresh profile each time."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.harness import Server

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def executable() -> str:
    """Return the browser; skips the test where there is none, fails it where REQUIRE_CHROMIUM says there must be."""
    found = os.environ.get("CHROMIUM") or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None and os.environ.get("REQUIRE_CHROMIUM"):
        pytest.fail("no Chromium on PATH, and CHROMIUM names none")
    if found is None:
        pytest.skip("no Chromium on PATH (apt-get install chromium), and CHROMIUM names none")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """Yield a browser; the program that drives it is gone afterwards as well."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Tab:
    """One page of one context, and everything it complained of."""

    page: Page
    base: str
    runs_scripts: bool = True
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a path of the server."""
        self.page.goto(self.base + path)
        return self.page

    def assert_clean(self) -> None:
        """Assert that nothing stood in the console, and that no script of a record ever ran."""
        assert not self.complaints
        if not self.runs_scripts:
            return
        assert self.page.evaluate("window.pwned") is None


@contextmanager
def tab(browser: Browser, server: Server, role: str | None = "read", **context: Any) -> Iterator[Tab]:
    """Yield a page that logged in with the link of ``role``; a console without errors is asserted at the end."""
    made: BrowserContext = browser.new_context(**({"viewport": {"width": 1400, "height": 900}} | context))
    made.set_default_timeout(20_000)
    opened = Tab(
        made.new_page(), f"{server.schemes['query']}://{server.query}", context.get("java_script_enabled", True)
    )
    watch(opened)
    try:
        if role is not None:
            opened.open(f"/?token={server.token(role)}")
        yield opened
        opened.assert_clean()
    finally:
        made.close()


def watch(opened: Tab) -> None:
    """Note what a page complains of: errors and warnings of the console, exceptions, requests to others, dialogs."""

    def note(kind: str, text: str) -> None:
        opened.complaints.append(f"{kind}: {text}")

    page = opened.page
    page.on("console", lambda m: note("console", m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: note("exception", str(error)))
    page.on("request", lambda r: note("foreign", r.url) if not r.url.startswith(opened.base) else None)
    page.on("dialog", lambda dialog: (note("dialog", dialog.message), dialog.dismiss()))


def axe_source() -> str:
    """Return axe-core, which looks for what keeps people from using a page."""
    import axe_playwright_python

    return next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text()


def findings(page: Page) -> list[str]:
    """Return the serious and critical findings of axe, each with the first element it is about."""
    # Past the page's own policy on purpose: the page has nothing that evaluates text.
    page.evaluate(axe_source())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:160]} ({len(v['nodes'])}) {v['nodes'][0].get('failureSummary', '')[:300]}"
        for v in result["violations"]
        if v["impact"] in {"serious", "critical"}
    ]
