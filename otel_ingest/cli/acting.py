"""Commands for who may change what is stored: clear, in the two steps of logger_clear, and audit."""

import getpass
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mcp_tools import render
from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from otel_ingest.cli import access
from otel_ingest.cli.common import DatabaseUrl, DataDir, Json, load_settings, print_rows, run
from otel_ingest.config import Settings
from storage.clearing import Eraser
from storage.control import Control
from storage.engine import erase_engine, read_engine, write_engine
from storage.reader import Reader


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("clear")(clear)
    app.command("audit")(audit)


@asynccontextmanager
async def open_acting(settings: Settings) -> AsyncIterator[tuple[Reader, Control]]:
    """Yield what reads and what acts, each with its own role of the database."""
    way = await access.running(settings)
    way.owning(settings)  # who may act here is who has the owner's URL, or the data directory
    erasing = way.erasing(settings)
    async with AsyncExitStack() as stack:
        reading, writing = read_engine(way.reading(settings)), write_engine(way.writing(settings))
        engines = [reading, writing] + ([erase_engine(erasing)] if erasing is not None else [])
        for engine in engines:
            stack.push_async_callback(engine.dispose)
        yield Reader(reading), Control(writing, Eraser(engines[2]) if erasing is not None else None)


def clear(
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log")],
    signal: Annotated[str, typer.Option(help="all, logs, spans or metrics")] = "all",
    component: Annotated[str | None, typer.Option("--component", "-c", help="service.name, or namespace/name")] = None,
    trace_id: Annotated[str | None, typer.Option(help="32 hex digits")] = None,
    text: Annotated[str | None, typer.Option(help="Part of the body of log records, any case")] = None,
    since: Annotated[str | None, typer.Option(help='Start: "15m", RFC 3339 [no limit]')] = None,
    until: Annotated[str | None, typer.Option(help="End, exclusive [no limit]")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All records; instead of the options above")] = False,
    confirm: Annotated[str | None, typer.Option(help="From the preview: delete what it counted")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Delete records for good, in two steps: without --confirm it counts and prints what to confirm.

    otel-ingest clear -c shop --until 2026-11-01 --reason "asked for by legal"
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    given = {
        "signal": signal, "component": component, "trace_id": trace_id, "text": text, "since": since, "until": until,
        "everything": everything, "reason": reason, "confirm": confirm,
    }  # fmt: skip

    async def work() -> Answer:
        async with open_acting(settings) as (reader, control):
            arguments = {name: value for name, value in given.items() if value is not None}
            caller = f"terminal:{getpass.getuser()}"
            return await call(reader, "admin", "logger_clear", arguments, caller=caller, control=control)

    try:
        answer = run(work())
    except UserInputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(json.dumps(answer.data) if as_json else answer.text)


def audit(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Entries, newest first")] = 50,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Print who set levels and who deleted what, newest first, refused attempts as well."""
    settings = load_settings(data_dir=data_dir, database_url=database_url)

    async def work() -> list[dict[str, Any]]:
        async with open_acting(settings) as (_, control):
            return [_row(asdict(entry)) for entry in await control.audit_entries(limit)]

    print_rows(run(work()), as_json=as_json)


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as it is shown: what a caller wrote into it cannot act on a terminal."""
    arguments = json.dumps(entry["arguments"], ensure_ascii=False)
    return {
        "at": render.time_of(entry["at_ns"]),
        "caller": render.clean(entry["caller"], 120),
        "role": entry["role"],
        "action": render.clean(entry["action"], 60),
        "outcome": render.clean(entry["outcome"], 500),
        "arguments": render.clean(arguments, 2_000),
    }
