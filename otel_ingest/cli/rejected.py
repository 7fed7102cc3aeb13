"""``otel-ingest rejected``: records that were not stored, with the reason, and as they were sent."""

import base64
import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mcp_tools import render
from otel_ingest.cli import access
from otel_ingest.cli.common import DatabaseUrl, DataDir, load_settings, run
from otel_ingest.config import Settings
from otel_ingest.wire import Encoding
from storage import rejected as store
from storage.engine import read_engine
from storage.rejected import KeptRecord

_TYPES: dict[str, Any] = {"logs": LogRecord, "traces": Span, "metrics": Metric}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("rejected")(rejected)


def rejected(
    identifier: Annotated[
        int | None, typer.Argument(metavar="[ID]", min=1, help="Show this one, with the record itself")
    ] = None,
    component: Annotated[str | None, typer.Option("--component", "-c", help="service.name of the sender")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Newest records to list")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines; the record as base64")] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """List records that were rejected, newest first, or show one: otel-ingest rejected 17 .

    A sender is told of them in partial_success as well. They are kept for OTEL_INGEST_REJECTED_DAYS days, within
    OTEL_INGEST_REJECTED_BYTES_MAX bytes; of a longer one the first 64 KiB.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    found = run(_find(settings, identifier, component, limit))
    if identifier is not None and not found:
        typer.echo(f"error: no rejected record {identifier} is kept; see `otel-ingest rejected`", err=True)
        raise typer.Exit(1)
    for record in found:
        if as_json:
            typer.echo(json.dumps(_data(record, whole=identifier is not None), default=str))
        else:
            typer.echo(_line(record))
    if identifier is not None and not as_json:
        typer.echo(_shown(found[0]))
    if not found and not as_json:
        typer.echo("none")


async def _find(settings: Settings, identifier: int | None, component: str | None, limit: int) -> list[KeptRecord]:
    engine = read_engine((await access.running(settings)).reading(settings))
    try:
        if identifier is None:
            return await store.newest(engine, component, limit)
        record = await store.one(engine, identifier)
        return [record] if record is not None else []
    finally:
        await engine.dispose()


def _data(record: KeptRecord, *, whole: bool) -> dict[str, Any]:
    data = asdict(record)
    del data["record"]
    return data | {"record": base64.b64encode(record.record).decode()} if whole else data


def _line(record: KeptRecord) -> str:
    """Return one line; what a sender wrote cannot move the cursor."""
    component = render.clean(record.component, 120) or "unknown"
    at = f"{record.received_at:%Y-%m-%d %H:%M:%S}Z"
    return f"{record.id}  {at}  {record.signal} #{record.position} of {component}: {render.clean(record.reason, 500)}"


def _shown(record: KeptRecord) -> str:
    """Return the record in words: its fields where they can be read, else its bytes."""
    cut = f", the first {len(record.record)}" if len(record.record) < record.record_bytes else ""
    head = f"{record.media_type}, {record.record_bytes} bytes{cut}; request {record.digest or 'without a digest'}"
    if record.media_type == Encoding.JSON.value:
        return f"{head}\n{render.clean(record.record.decode('utf-8', 'backslashreplace'), len(record.record) * 6)}"
    try:
        return f"{head}\n{_TYPES[record.signal].FromString(record.record)}"
    except DecodeError:
        return f"{head}, cannot be decoded\n{record.record.hex(' ')}"
