"""``otel-ingest export``: all that is stored, as it came in, to files or to any OTLP endpoint."""

import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from mcp_tools import arguments as read
from mcp_tools.errors import UserInputError
from otel_ingest.cli import access
from otel_ingest.cli.common import DatabaseUrl, DataDir, load_settings, run
from otel_ingest.config import Settings
from otel_ingest.encode import encode
from otel_ingest.export.errors import MissingLibraryError, SendError
from otel_ingest.export.files import (
    BINARY,
    FORMATS,
    SUFFIXES,
    Format,
    ParquetWriter,
    StreamWriter,
    Writer,
)
from otel_ingest.export.send import Sender
from otel_ingest.signals import SIGNALS, Signal
from storage.engine import AsyncEngine, read_engine
from storage.export import pages
from storage.pages import ExportQuery

_log = structlog.get_logger(__name__)
# KEY=VALUE pairs, comma between; a token on the command line would show in process lists.
_HEADERS_VARIABLE = "OTEL_INGEST_EXPORT_HEADERS"
_NAMES = tuple(s.name for s in SIGNALS)


@dataclass(frozen=True, slots=True)
class Job:
    """One export: of which signals and records, in which form, where to."""

    signals: list[Signal]
    query: ExportQuery
    kind: Format
    output: Path | None
    endpoint: str | None


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("export")(export)


def export(
    kind: Annotated[str, typer.Option("--format", "-f", help="otlp, otlp-json, jsonl or parquet")] = "otlp-json",
    signal: Annotated[list[str] | None, typer.Option("--signal", help="logs, traces or metrics; repeatable")] = None,
    since: Annotated[str | None, typer.Option(help='Start: "2h", RFC 3339 or epoch [all]')] = None,
    until: Annotated[str | None, typer.Option(help="End, exclusive; same forms [all]")] = None,
    component: Annotated[str | None, typer.Option("--component", "-c", help="service.name, or namespace/name")] = None,
    trace: Annotated[str | None, typer.Option(help="32 hex digits: logs and spans of one trace")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File of one signal, or directory of several [stdout]")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="OTLP endpoint to send to: http://, https://, grpc:// or grpcs://host:port")
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write what is stored: otel-ingest export --since 1d -o backup, or --to http://other:4318 .

    otlp and otlp-json hold every field exactly as it was received and can be sent to any OTLP receiver; jsonl and
    parquet are one flat record each. --to takes headers from OTEL_INGEST_EXPORT_HEADERS (KEY=VALUE,KEY=VALUE), sends
    again what is refused for now, and exits 1 when the endpoint refuses for good. Nothing is deleted.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    try:
        job = _job(kind, signal, since, until, component, trace, output, to)
        counts = run(_export(settings, job))
    except (UserInputError, SendError, MissingLibraryError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UserInputError) else 1) from None
    told = ", ".join(f"{count} {noun}" for noun, count in counts.items())
    typer.echo(f"exported {told}", err=True)


def _job(
    kind: str,
    signals: list[str] | None,
    since: str | None,
    until: str | None,
    component: str | None,
    trace: str | None,
    output: Path | None,
    to: str | None,
) -> Job:
    """Return what to do. Raises UserInputError for a wrong or contradictory argument."""
    if kind not in FORMATS:
        raise UserInputError("INVALID_ARGUMENT", f"--format {kind!r}; one of {', '.join(FORMATS)}")
    wrong = [name for name in signals or () if name not in _NAMES]
    if wrong:
        raise UserInputError("INVALID_ARGUMENT", f"--signal {wrong[0]!r}; one of {', '.join(_NAMES)}")
    if output is not None and to is not None:
        raise UserInputError("INVALID_ARGUMENT", "--output and --to exclude each other")
    chosen = [s for s in SIGNALS if not signals or s.name in signals]
    if to is None and output is None and kind in BINARY and (sys.stdout.isatty() or kind == "parquet"):
        raise UserInputError("INVALID_ARGUMENT", f"{kind} is not text: name a file or directory with --output")
    if to is None and output is None and kind == "otlp" and len(chosen) > 1:
        raise UserInputError("INVALID_ARGUMENT", "otlp on stdout holds one signal: choose one with --signal")
    now_ns = time.time_ns()
    query = ExportQuery(
        component=component,
        trace_id=read.hex_id(trace, "--trace", 32) if trace else None,
        since_ns=read.time_ns(since, "--since", now_ns) if since else None,
        until_ns=read.time_ns(until, "--until", now_ns) if until else None,
    )
    return Job(chosen, query, kind, output, to)  # type: ignore[arg-type]


async def _export(settings: Settings, job: Job) -> dict[str, int]:
    """Return how many records of each signal went out."""
    engine = read_engine((await access.running(settings)).reading(settings))
    try:
        return await (_send(engine, job) if job.endpoint else _write(engine, job))
    finally:
        await engine.dispose()


async def _write(engine: AsyncEngine, job: Job) -> dict[str, int]:
    counts = {}
    for signal in job.signals:
        writer, stream = _open(job, signal)
        counts[signal.name] = 0
        try:
            async for page in pages(engine, signal.table, job.query):
                writer.write(page)
                counts[signal.name] += len(page.rows)
            writer.close()
        finally:
            if stream is not None:
                stream.close()
    return counts


def _open(job: Job, signal: Signal) -> tuple[Writer, Any]:
    """Return the writer of a signal, and the file to close after it."""
    if job.output is None:
        return StreamWriter(job.kind, sys.stdout.buffer), None
    path = job.output
    if len(job.signals) > 1 or path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path /= signal.name + SUFFIXES[job.kind]
    if job.kind == "parquet":
        return ParquetWriter(path), None
    # Telemetry may hold what is nobody else's business.
    stream = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    return StreamWriter(job.kind, stream), stream


async def _send(engine: AsyncEngine, job: Job) -> dict[str, int]:
    counts = {}
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(Sender(job.endpoint or "", _headers()))
        for signal in job.signals:
            counts[signal.name] = 0
            async for page in pages(engine, signal.table, job.query):
                sent = await sender.send(signal, encode(page))
                counts[signal.name] += len(page.rows)
                if sent.rejected:
                    _log.warning(
                        "rejected by the receiver", signal=signal.name, records=sent.rejected, why=sent.message
                    )
    return counts


def _headers() -> dict[str, str]:
    """Return the headers of the environment. Raises UserInputError."""
    text = os.environ.get(_HEADERS_VARIABLE, "")  # noqa: TID251 - a command is a composition root
    headers = {}
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserInputError("INVALID_ARGUMENT", f"{_HEADERS_VARIABLE} holds a part that is not KEY=VALUE")
        headers[name.strip()] = value.strip()
    return headers
