"""``make bench-tools``: what each read tool takes through MCP over HTTP, p50 and p99, over the store of ``bench-read``.

A real server on the store, the official client on one connection, protocol 2026-07-28; one question after the other
with values picked at random, of records that are there. The time of an answer is the client's.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from benchmarks.figures import percentile
from benchmarks.read_store import COMPONENTS, DAY_US, RARE_WORD, Built, opened
from tests import harness

TIMES = 60
SECONDS = 20.0
AIM_MS = 300


def _when(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat()


def questions(
    built: Built, traces: list[str], chance: random.Random
) -> list[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Return (tool, what is asked, arguments)."""
    until = built.until_us
    hour, day, week = (_when(until - length) for length in (DAY_US // 24, DAY_US, 7 * DAY_US))
    end = _when(until)

    def of(**given: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {"until": end, "component": chance.choice(list(COMPONENTS)), **given}

    def windows() -> dict[str, Any]:
        a, b = (
            {"since": _when(until - n * DAY_US // 24), "until": _when(until - (n - 1) * DAY_US // 24)} for n in (2, 1)
        )
        return {"kind": "windows", "a": a, "b": b, "component": chance.choice(list(COMPONENTS))}

    def user() -> dict[str, Any]:
        return {"since": week, "until": end, "attributes": {"user.id": chance.randrange(20_000, 40_000)}}

    def one() -> str:
        return chance.choice(traces)

    by_hour = {"group_by": ["component"], "interval": "1h"}
    return [
        ("logger_overview", "last hour", lambda: {"since": hour, "until": end}),
        ("logger_query", "newest of a component, hour", of(since=hour)),
        ("logger_query", "errors of a component, 7 days", of(since=week, severity_min="error")),
        ("logger_query", "an attribute, 7 days", user),
        ("logger_query", "a rare word, a day", lambda: {"since": day, "until": end, "text": RARE_WORD}),
        ("logger_query", "repeats of a component, hour", of(since=hour, collapse="repeats")),
        ("logger_trace", "summary", lambda: {"trace_id": one()}),
        ("logger_trace", "full", lambda: {"trace_id": one(), "view": "full"}),
        ("logger_search_traces", "failed, of a component, day", of(since=day, status="error")),
        ("logger_search_traces", "slowest of a component, hour", of(since=hour, sort="slowest")),
        ("logger_stats", "logs by component and hour, day", lambda: {"since": day, "until": end, **by_hour}),
        ("logger_stats", "p99 of spans of a component, hour", of(since=hour, signal="spans", agg="p99")),
        ("logger_fields", "of a component, hour", of(since=hour)),
        ("logger_patterns", "of a component, hour, against before", of(since=hour, compare_to="previous")),
        ("logger_diff", "two hours of a component", windows),
        ("logger_diff", "two traces", lambda: {"kind": "traces", "a": one(), "b": one()}),
        ("logger_tail", "begin", lambda: {"wait_s": 0}),
        ("logger_retention", "", dict),
    ]  # fmt: skip


async def _traces(url: str, built: Built) -> list[str]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    share = min(400_000 / built.spans, 100)
    async with await psycopg.AsyncConnection.connect(plain) as connection:
        statement = f"SELECT DISTINCT trace_id FROM spans TABLESAMPLE SYSTEM ({share:f}) LIMIT 2000"  # noqa: S608
        found = await connection.execute(statement)
        return [row[0].hex for row in await found.fetchall()]


async def ask(client: Client, tool: str, picked: Callable[[], dict[str, Any]]) -> tuple[list[float], int]:
    """Return the times of a question in ms, and how many of its answers were errors; the first two warm it."""
    times: list[float] = []
    errors, began = 0, time.monotonic()
    for n in range(TIMES + 2):
        given = picked()
        at = time.perf_counter()
        answer = await client.call_tool(tool, given)
        if n >= 2:
            times.append((time.perf_counter() - at) * 1000)
            errors += bool(answer.is_error)
            if answer.is_error and errors == 1:
                print(tool, answer.content[0].text[:200])
        if len(times) > 3 and time.monotonic() - began > SECONDS:
            break
    return times, errors


async def measure(server: harness.Server, built: Built, traces: list[str]) -> None:
    """Ask all through MCP over HTTP, and print."""
    table = Table("tool", "asked", "p50 ms", "p99 ms", box=box.MARKDOWN)
    missed: list[str] = []
    failed = 0
    headers = {"Authorization": f"Bearer {server.token()}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"http://{server.query}/mcp", http_client=http)) as client,
    ):
        for tool, what, picked in questions(built, traces, random.Random(3)):
            times, errors = await ask(client, tool, picked)
            p99 = percentile(times, 0.99)
            table.add_row(tool, what, f"{statistics.median(times):.0f}", f"{p99:.0f}")
            missed += [f"{tool} ({what}): p99 {p99:.0f} ms"] if p99 >= AIM_MS else []
            failed += errors
    Console(width=130).print(table)
    print(f"p99 of {AIM_MS} ms or more: {'; '.join(missed) or 'none'}; answers that were errors: {failed}")
    print(f"{built.rows:,} log records, {built.spans:,} spans over 14 days")


async def prepared(options: argparse.Namespace) -> tuple[Built, list[str]]:
    """Build the store where it is not there; return what it holds, and some of its traces."""
    async with opened(options.data_dir, options.rows, options.spans) as (url, built):
        return built, await _traces(url, built)


def main() -> None:
    """Take the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="log records")
    parser.add_argument("--spans", type=int, default=2_000_000)
    parser.add_argument("--data-dir", type=Path, help="the store of bench-read: default build/bench-ROWS")
    options = parser.parse_args()
    options.data_dir = (options.data_dir or Path("build") / f"bench-{options.rows}").absolute()
    built, traces = asyncio.run(prepared(options))
    with harness.running(options.data_dir) as server:
        asyncio.run(measure(server, built, traces))


if __name__ == "__main__":
    main()
