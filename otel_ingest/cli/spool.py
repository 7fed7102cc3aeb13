"""``otel-ingest spool``: what waits for PostgreSQL, whether it is whole, and draining what a receiver left behind."""

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from prometheus_client import CollectorRegistry

from otel_ingest import log
from otel_ingest.batcher import Batcher
from otel_ingest.cli import access
from otel_ingest.cli.common import (
    DatabaseUrl,
    DataDir,
    Json,
    load_settings,
    print_rows,
    run,
    windows,
)
from otel_ingest.config import Settings
from otel_ingest.decoder import Decoder
from otel_ingest.durable import Durable
from otel_ingest.ingest import Ingest
from otel_ingest.limits import Limits
from otel_ingest.rate_limit import ComponentRates
from otel_ingest.spool.drain import Drain, DrainTarget
from otel_ingest.spool.format import UnknownVersionError
from otel_ingest.spool.look import look, verify
from otel_ingest.spool.owner import Owned, SpoolOwnedError, own, spool_directories
from otel_ingest.spool.spool import Spool
from otel_ingest.stats import ReceiverStats
from otel_ingest.store_state import StoreState
from storage import probe, spooled
from storage.engine import write_engine
from storage.sink import PostgresSink
from storage.transactions import outcome_of

T = TypeVar("T")

# A request may be under way elsewhere at this moment, or its PostgreSQL may be short of something.
_TRIES = 5

Directory = Annotated[
    Path | None,
    typer.Argument(help="A spool directory, or a data directory that holds some [that of --data-dir]", exists=True),
]

spool_app = typer.Typer(
    no_args_is_help=True,
    help="Requests that were acknowledged while PostgreSQL was away: show, verify, drain what a receiver left.",
)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(spool_app, name="spool")


@spool_app.command("show")
def show(directory: Directory = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show each spool: whether a running receiver owns it, segments, requests, records, bytes, age of the oldest.

    A receiver drains its own spool by itself once PostgreSQL is back, and those below its data directory that nobody
    owns; nothing needs to be done but for directories of receivers that never come back.
    """
    path = directory or load_settings(data_dir=data_dir).data_dir
    rows = [asdict(seen) | {"owner": "running" if seen.owned else "none"} for seen in _readable(partial(look, path))]
    now_ns = time.time_ns()
    for row in rows:
        del row["owned"]
        oldest_ns = row.pop("oldest_ns")
        row["oldest"] = datetime.fromtimestamp(oldest_ns / 1e9, UTC).isoformat("T", "seconds") if oldest_ns else None
        row["oldest_age_s"] = round((now_ns - oldest_ns) / 1e9, 1) if oldest_ns else None
    print_rows(rows, as_json=as_json)


@spool_app.command("verify")
def verify_(directory: Directory = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Read every request and check its checksums; exit 1 when anything is damaged.

    Bytes that were cut off at the end of a segment are what a crash leaves of a write that was never acknowledged.
    """
    path = directory or load_settings(data_dir=data_dir).data_dir
    rows = [
        {"directory": str(found)} | asdict(segment)
        for found in spool_directories(path)
        for segment in _readable(partial(verify, found))
    ]
    print_rows(rows, as_json=as_json)
    if any(row["damaged_bytes"] for row in rows):
        typer.echo("error: there is damage; draining sets it aside in files beside, and replays the rest", err=True)
        raise typer.Exit(1)


@spool_app.command("drain")
def drain(
    directory: Annotated[Path, typer.Argument(help="A spool directory, or a data directory that holds some")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Put into PostgreSQL what another receiver left in its spool; refused while that receiver runs.

    May be stopped and started again, or run twice: each request is stored once.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    log.configure(settings.log_level, as_json=settings.log_json)
    owned = _readable(lambda: [own(found) for found in spool_directories(directory)])
    if not owned:
        typer.echo(f"error: there is no spool in {directory}", err=True)
        raise typer.Exit(1)
    rows = run(_drain(settings, owned))
    print_rows(rows, as_json=as_json)
    if any(row["requests_left"] for row in rows):
        raise typer.Exit(1)


async def _drain(settings: Settings, directories: list[Owned]) -> list[dict[str, Any]]:
    """Drain spools; return a line for each. Raises StoreError."""
    engine = write_engine((await access.running(settings)).writing(settings))
    stats, state = ReceiverStats(CollectorRegistry()), StoreState()
    batcher = Batcher(
        PostgresSink(engine, windows(settings)),
        stats,
        writers=settings.writers,
        queue_bytes_max=settings.inflight_bytes_max,
        state=state,
    )
    batcher.start()
    decoder = Decoder(Limits(body_bytes_max=settings.body_bytes_max), settings.decode_bytes_max)
    ingest = Ingest(
        Durable(batcher, None, partial(outcome_of, engine)),
        decoder,
        ComponentRates(0),
        stats,
        time.time_ns,
    )
    target = DrainTarget(
        ingest.replay, stats.lost, partial(spooled.forget, engine), partial(probe.takes_writes, engine)
    )
    try:
        await probe.takes_writes(engine)
        return [await _drain_one(owned, target, state, stats) for owned in directories]
    finally:
        await batcher.close(settings.drain_timeout_s)
        await decoder.close()
        await engine.dispose()


async def _drain_one(owned: Owned, target: DrainTarget, state: StoreState, stats: ReceiverStats) -> dict[str, Any]:
    """Drain one directory, as far as PostgreSQL takes it."""
    spool = Spool(owned, bytes_max=0)
    try:
        found = await spool.open()
    except (UnknownVersionError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    before = stats.ledger()
    try:
        emptying = Drain([spool], target, state)
        for _ in range(_TRIES):
            if await emptying.once():
                break
        left = spool.contents.requests
        aside = spool.set_aside_bytes
    finally:
        await spool.close()
    after = stats.ledger()
    books = {book: sum(after[s][book] - before[s][book] for s in after) for book in ("stored", "duplicate", "rejected")}
    return {
        "directory": str(owned.path),
        "requests": found.requests,
        "records": sum(found.records.values()),
        **books,
        "set_aside_bytes": aside,
        "requests_left": left,
    }


def _readable(read: Callable[[], T]) -> T:
    """Return what ``read`` returns; a directory that cannot be read is a sentence and exit 1."""
    try:
        return read()
    except (OSError, SpoolOwnedError, UnknownVersionError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
