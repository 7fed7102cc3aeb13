"""``make bench-read``: how long the read functions take over 14 days of records, beside SQL written by hand, warm.

The store is built once and kept in its data directory (10 million log records and 2 million spans: some ten minutes and
10 GB on a common machine); any server or benchmark may be started on it afterwards. Times are of the functions behind
the tools, the connection included; each question is asked with values picked at random, of records that are there.
"By hand" is the SQL one would write who knows the tables, on a connection of its own, rows fetched and not looked at.
"""

import argparse
import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from benchmarks.figures import percentile
from benchmarks.read_store import COMPONENTS, DAY_US, RARE_WORD, Built, opened
from storage.config import StorageConfig
from storage.engine import read_engine
from storage.filters import LogQuery, TraceQuery
from storage.mapping import log_columns, message_columns, node_columns
from storage.reader import Reader
from storage.reading.common import LOGS, SPANS

# Each question is asked this often, or for so long.
TIMES = 100
SECONDS = 20.0
HOUR_US = DAY_US // 24


def _columns(columns: list[Any]) -> str:
    """Return the columns a function reads, as one writes them."""
    return ", ".join(
        str(column.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})) for column in columns
    )


LOG_SOURCE = f"{_columns(log_columns())} FROM {LOGS.compile(dialect=postgresql.dialect())}"
PAGE = f"SELECT {LOG_SOURCE} WHERE {{}} ORDER BY log_records.time DESC, log_records.id DESC LIMIT 101"
TRACES = "SELECT trace_id, max(time) FROM spans WHERE trace_id IS NOT NULL AND time >= to_timestamp(%(since)s / 1e6)"
COUNTED = "SELECT count(*) FROM (SELECT 1 FROM log_records WHERE {} LIMIT 10001) AS few"


@dataclass(frozen=True, slots=True)
class Question:
    """One question: what it must take (ms, p50 or p99), the function that answers it, the SQL by hand."""

    name: str
    aim: str
    picked: Callable[[], dict[str, Any]]
    asked: Callable[[dict[str, Any]], Awaitable[Any]]
    by_hand: tuple[str, ...]


@dataclass(slots=True)
class Times:
    """How long it took, ms."""

    asked: list[float] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)


def _at(us: int) -> str:
    return f"to_timestamp({us}::numeric / 1000000)"


def questions(reader: Reader, built: Built, found: dict[str, list[Any]], chance: random.Random) -> list[Question]:
    """Return what is asked."""
    until, since = built.until_us, built.since_us
    ns = 1000
    names = list(COMPONENTS)

    def component() -> dict[str, Any]:
        return {"component": chance.choice(names)}

    def day() -> dict[str, Any]:
        begin = since + chance.randrange(13) * DAY_US
        return {"since": begin, "until": begin + DAY_US}

    window = "log_records.time >= to_timestamp(%(since)s / 1e6) AND log_records.time < to_timestamp(%(until)s / 1e6)"
    of_component = "log_records.component = %(component)s AND log_records.time >= to_timestamp(%(since)s / 1e6)"
    word = f"{window} AND log_records.body ILIKE '%%{RARE_WORD}%%'"
    user = (
        "log_records.time >= to_timestamp(%(since)s / 1e6) "
        "AND log_records.attributes @> jsonb_build_object('user.id', %(user)s::int)"
    )
    trace = "{0}.trace_id = %(trace)s::uuid"
    nodes = f"SELECT {_columns(node_columns())} FROM {SPANS.compile(dialect=postgresql.dialect())}"  # noqa: S608
    said = f"SELECT {_columns(message_columns())} FROM {LOGS.compile(dialect=postgresql.dialect())}"  # noqa: S608

    def logs(**conditions: Any) -> Callable[[dict[str, Any]], Awaitable[Any]]:
        async def ask(p: dict[str, Any]) -> Any:
            given = {k: p[k] for k in ("component",) if k in p} | {
                k: v(p) if callable(v) else v for k, v in conditions.items()
            }
            edges = {f"{k}_ns": p[k] * ns for k in ("since", "until") if k in p}
            return await reader.find_logs(LogQuery(**given, **edges, limit=100))

        return ask

    return [
        Question(
            "one trace",
            "p99 < 20",
            lambda: {"trace": chance.choice(found["traces"])},
            lambda p: reader.trace_outline(p["trace"]),
            (f"{nodes} WHERE {trace.format('spans')}", f"{said} WHERE {trace.format('log_records')}"),
        ),
        Question(
            "newest 100 of a component, last hour",
            "p99 < 20",
            lambda: component() | {"since": until - HOUR_US},
            logs(),
            (PAGE.format(of_component), COUNTED.format(of_component)),
        ),
        Question(
            "errors of a component, 7 days",
            "p50 < 50",
            lambda: component() | {"since": until - 7 * DAY_US},
            logs(severity_min=17),
            tuple(s.format(f"{of_component} AND log_records.severity_number >= 17") for s in (PAGE, COUNTED)),
        ),
        Question("a rare word, one day", "p50 < 1000", day, logs(text=RARE_WORD), (PAGE.format(word),)),
        Question(
            "an attribute, 7 days",
            "p50 < 1000",
            lambda: {"since": until - 7 * DAY_US, "user": chance.choice(found["users"])},
            logs(attributes=lambda p: {"user.id": p["user"]}),
            (PAGE.format(user),),
        ),
        Question(
            "histogram by minute, 14 days",
            "p50 < 50",
            lambda: {"since": since, "until": until},
            lambda p: reader.log_counts(
                LogQuery(since_ns=p["since"] * ns, until_ns=p["until"] * ns), (), 60, top=1_000_000
            ),
            (
                f"SELECT date_bin('1 minute', time, 'epoch'), count(*) FROM log_records WHERE {window} GROUP BY 1",  # noqa: S608
            ),
        ),
        Question(
            "overview, 14 days",
            "p50 < 50",
            lambda: {"since": since, "until": until},
            lambda p: asyncio.gather(reader.store_info(), reader.component_stats(p["since"] * ns, p["until"] * ns)),
            (f"SELECT component, severity_number, count(*) FROM log_records WHERE {window} GROUP BY 1, 2",),  # noqa: S608
        ),
        Question(
            "newest 20 failed traces, 7 days",
            "",
            lambda: {"since": until - 7 * DAY_US},
            lambda p: reader.find_traces(TraceQuery(status="error", since_ns=p["since"] * ns)),
            (f"{TRACES} AND status_code = 2 GROUP BY 1 ORDER BY 2 DESC LIMIT 21",),
        ),
        Question(
            "newest 20 traces of a component, 7 days",
            "",
            lambda: component() | {"since": until - 7 * DAY_US},
            lambda p: reader.find_traces(TraceQuery(component=p["component"], since_ns=p["since"] * ns)),
            (f"{TRACES} AND component = %(component)s GROUP BY 1 ORDER BY 2 DESC LIMIT 21",),
        ),
    ]


async def measure(question: Question, hand: psycopg.AsyncConnection[Any]) -> Times:
    """Ask it both ways by turns, twice unmeasured."""
    times = Times()
    began = time.monotonic()
    for n in range(TIMES + 2):
        parameters = question.picked()
        started = time.perf_counter()
        await question.asked(parameters)
        between = time.perf_counter()
        async with hand.transaction(), hand.cursor(binary=True) as cursor:
            for statement in question.by_hand:
                await cursor.execute(statement.encode(), parameters)
                await cursor.fetchall()
        if n > 1:
            times.asked.append((between - started) * 1000)
            times.by_hand.append((time.perf_counter() - between) * 1000)
        if n > 3 and time.monotonic() - began > SECONDS:
            break
    return times


async def _found(hand: psycopg.AsyncConnection[Any], built: Built) -> dict[str, list[Any]]:
    """Return traces and users that are there, of some thousand spans and records."""
    spans, logs = min(400_000 / built.spans, 100), min(300_000 / built.rows, 100)
    traces = await hand.execute(
        f"SELECT DISTINCT trace_id FROM (SELECT trace_id FROM spans TABLESAMPLE SYSTEM ({spans:f})) AS few LIMIT 2000"  # noqa: S608
    )
    users = await hand.execute(
        f"SELECT DISTINCT (attributes ->> 'user.id')::int FROM log_records TABLESAMPLE SYSTEM ({logs:f}) "  # noqa: S608
        "WHERE (attributes ->> 'user.id')::int > 20000 LIMIT 500"
    )
    return {"traces": [row[0].hex for row in await traces.fetchall()], "users": [r[0] for r in await users.fetchall()]}


async def run(options: argparse.Namespace) -> None:
    """Open the store, measure all and print."""
    async with opened(options.data_dir, options.rows, options.spans) as (url, built):
        await report(url, built, options.only)


async def report(url: str, built: Built, only: str) -> None:
    """Measure all and print."""
    chance = random.Random(3)
    table = Table("question", "aim, ms", "p50 ms", "p99 ms", "by hand p50", "ratio", box=box.MARKDOWN)
    engine = read_engine(StorageConfig(url, readers=4))
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(plain, options="-c timezone=UTC") as hand:
        found = await _found(hand, built)
        await hand.commit()
        for question in questions(Reader(engine), built, found, chance):
            if only not in question.name:
                continue
            times = await measure(question, hand)
            asked, by_hand = statistics.median(times.asked), statistics.median(times.by_hand)
            table.add_row(
                question.name,
                question.aim,
                f"{asked:.1f}",
                f"{percentile(times.asked, 0.99):.1f}",
                f"{by_hand:.1f}",
                f"{asked / by_hand:.2f}",
            )
    await engine.dispose()
    Console(width=130).print(table)
    print(f"{built.rows:,} log records, {built.spans:,} spans over 14 days")


def main() -> None:
    """Take the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="log records")
    parser.add_argument("--spans", type=int, default=2_000_000)
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="where the store is, or is built: default build/bench-ROWS; `otel-ingest up --data-dir` serves it as well",
    )
    parser.add_argument("--only", default="", help="questions with this in their name")
    options = parser.parse_args()
    # As a server does (otel_ingest/cli/up.py): else now and then a question waits 60 ms for a look for cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    options.data_dir = (options.data_dir or Path("build") / f"bench-{options.rows}").absolute()
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
