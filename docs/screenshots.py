"""``make screenshots``: the pictures of docs/page.md, of a seeded store, in a real Chromium."""

import json
import tempfile
import time
from pathlib import Path

from tests.browser import launched, tab
from tests.harness import Server, running
from tests.telling import Story

FOLDER = Path(__file__).parent / "page"
WIDE, NARROW = (1200, 720), (400, 720)


def main() -> None:
    """Take all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="oi-shots-") as temporary:
        Path(temporary).chmod(0o711)
        with running(Path(temporary) / "data") as server:
            story = Story(4, time.time_ns())
            for _ in range(300):
                story.checkout()
            story.send(server)
            take(server, story)


def take(server: Server, story: Story) -> None:
    """Take the pictures of one server."""
    trace = f"/trace/{story.failed[0]}"
    span = json.loads(server.get(f"{trace}.json"))["failures"][0]["span_id"]
    well = next(
        t["trace_id"] for t in json.loads(server.get("/traces.json"))["traces"] if t["trace_id"] not in story.failed
    )
    pictures = [
        ("logs", "/logs", "light", WIDE),
        ("logs-dark", "/logs?q=level:>=warn", "dark", WIDE),
        ("trace", f"{trace}?span={span}", "light", WIDE),
        ("trace-dark", trace, "dark", WIDE),
        ("traces", "/traces?sort=slowest", "light", WIDE),
        ("compare", f"/compare?a={well}&b={story.failed[0]}", "light", WIDE),
        ("components", "/components", "light", WIDE),
        ("patterns", "/patterns", "dark", WIDE),
        ("operations", "/operations", "light", WIDE),
        ("logs-narrow", "/logs", "light", NARROW),
        ("trace-narrow", trace, "dark", NARROW),
    ]
    with launched() as browser:
        for name, path, scheme, (width, height) in pictures:
            shape = {"color_scheme": scheme, "viewport": {"width": width, "height": height}}
            with tab(browser, server, **shape) as opened:
                page = opened.open(path)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
