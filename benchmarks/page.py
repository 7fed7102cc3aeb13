"""``make bench-page``: the page over 10 million records and a trace of 100,000 spans: bytes, and ms to the first paint.

Bytes are those of the answer itself; the stylesheet and the modules come once. Times are medians of five loads in a
Chromium with nothing in its cache but those.
"""

import argparse
import asyncio
import urllib.request
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.read_store import opened
from tests.browser import Tab, launched, tab
from tests.harness import Server, running
from tests.telling import LARGE_TRACE, large_trace

_LOADS = 5
_PAINT = """() => new Promise((told) => new PerformanceObserver((list) => {
  const paint = list.getEntriesByName('first-contentful-paint')[0];
  if (paint) told(paint.startTime);
}).observe({type: 'paint', buffered: true}))"""
_VIEWS = {
    "logs, last hour": "/logs",
    "logs, 7 days": "/logs?since=7d",
    "logs, 7 days, errors of one component": "/logs?since=7d&q=component:payments+level:error",
    "traces, 24 hours": "/traces",
    "components, last hour": "/components",
    "patterns, last hour": "/patterns",
    "operations": "/operations",
}


def main() -> None:
    """Build the store where it is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="log records [10,000,000]")
    parser.add_argument("--spans", type=int, default=2_000_000, help="spans of their traces [2,000,000]")
    parser.add_argument("--trace-spans", type=int, default=100_000, help="spans of the large trace [100,000]")
    parser.add_argument("--data-dir", type=Path, help="kept, and used again [a temporary directory]")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="oi-page-") as temporary:
        Path(temporary).chmod(0o711)
        asyncio.run(_run(given.data_dir or Path(temporary) / "store", Path(temporary) / "server", given))


async def _run(store: Path, data_dir: Path, given: Any) -> None:
    async with opened(store, given.rows, given.spans) as (url, built):
        await asyncio.to_thread(_measure, url, data_dir, given.trace_spans)
        print(f"\n{built.rows:,} log records, {built.spans:,} spans, 14 days")


def _measure(url: str, data_dir: Path, spans: int) -> None:
    with running(data_dir, OTEL_INGEST_DATABASE_URL=url.replace("+psycopg", "")) as server, launched() as browser:
        large_trace(server, spans)
        print("| view | KB | answer, ms | first paint, ms |\n|---|---|---|---|")
        with tab(browser, server) as loaded:
            for name, path in (_VIEWS | {f"a trace of {spans:,} spans": f"/trace/{LARGE_TRACE}"}).items():
                print(_line(loaded, server, name, path), flush=True)
            print(_line_of_rows(loaded, server, spans))


def _line(loaded: Tab, server: Server, name: str, path: str) -> str:
    size = len(server.get(path))
    paints, answers = [], []
    for _ in range(_LOADS):
        page = loaded.open(path)
        if path.startswith("/trace/"):
            page.wait_for_selector(".wf.live .w", timeout=120_000)
        paints.append(page.evaluate(_PAINT))
        answers.append(page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd"))
    return f"| {name} | {size / 1000:.0f} | {median(answers):.0f} | {median(paints):.0f} |"


def _line_of_rows(loaded: Tab, server: Server, spans: int) -> str:
    """Return the line of all rows: their compressed bytes, and when the last of them could be shown."""
    request = urllib.request.Request(f"http://{server.query}/trace/{LARGE_TRACE}/shape.json")
    request.add_header("Authorization", f"Bearer {server.token()}")
    request.add_header("Accept-Encoding", "gzip")
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        size = len(answer.read())
    times = []
    for _ in range(_LOADS):
        page = loaded.open(f"/trace/{LARGE_TRACE}")
        page.wait_for_selector(".wf.live .w", timeout=120_000)
        times.append(page.evaluate("performance.now()"))
    return f"| all {spans:,} rows of it, gzip | {size / 1000:.0f} | | {median(times):.0f} (all within reach) |"


if __name__ == "__main__":
    main()
