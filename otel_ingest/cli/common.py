"""What the commands share: settings from flags, the way to the database, errors as sentences."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from otel_ingest.cli import access
from otel_ingest.config import Settings
from otel_ingest.spool.look import summary
from storage.config import Windows
from storage.engine import read_engine
from storage.errors import StoreError
from storage.reader import Reader
from storage.rejected import RejectedBounds

T = TypeVar("T")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Directory of the embedded PostgreSQL [env: OTEL_INGEST_DATA_DIR]"),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="PostgreSQL to use instead; prefer OTEL_INGEST_DATABASE_URL: flags show in process lists",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")]


def load_settings(**flags: Any) -> Settings:
    """Return the settings; flags that were not given (None) do not count. Exit 2 with a sentence for a wrong one."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in problem["loc"]) or "settings"
            typer.echo(f"error: {name}: {problem['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's coroutine; a store that cannot be reached is a sentence and exit 1, not a traceback."""
    try:
        return asyncio.run(work)
    except StoreError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def windows(settings: Settings) -> Windows:
    """Return how long requests are known that come again."""
    return Windows(unnamed_s=settings.duplicate_window_s, named_s=settings.batch_id_window_s)


def rejected_bounds(settings: Settings) -> RejectedBounds:
    """Return how many rejected records are kept."""
    return RejectedBounds(bytes_max=settings.rejected_bytes_max, age_s=settings.rejected_days * 86_400)


@asynccontextmanager
async def open_reader(settings: Settings | None = None) -> AsyncIterator[Reader]:
    """Yield a Reader on the configured or running store; for commands that only look."""
    settings = settings or load_settings()
    engine = read_engine((await access.running(settings)).reading(settings))
    try:
        yield Reader(engine, lambda: summary(settings.data_dir, time.time_ns()))
    finally:
        await engine.dispose()


# Wider than any row of ours.
_PIPE_COLUMNS = 10_000


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows of equal keys as JSON lines or as a table."""
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, default=str))
        return
    if not rows:
        typer.echo("none")
        return
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int) else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    # What reads a pipe has no margin; a terminal that is too narrow folds values: none is cut.
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)
