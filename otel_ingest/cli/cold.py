"""``otel-ingest partitions cold``: closed partitions as Parquet files outside of PostgreSQL."""

import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from otel_ingest.cli.common import DatabaseUrl, DataDir, Json, load_settings, print_rows, run
from otel_ingest.cli.packing import NICE, Before, Tables, edge_of, owner_engine, tables_of
from storage.cold.upkeep import freeze, to_freeze


def register(app: typer.Typer) -> None:
    """Add the command to ``app``, the group ``partitions``."""
    app.command("cold")(cold)


def cold(
    before: Before = None,
    tables: Tables = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go cold, and change nothing")] = False,
    by_itself: Annotated[
        bool, typer.Option("--by-itself", help="As `up` does it: what came late for a cold day waits for a day")
    ] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Move closed partitions into Parquet files at OTEL_INGEST_COLD_URL, and remove files whose records are gone.

    Every question, export and deletion of otel-ingest finds the records as before; PostgreSQL keeps some tenths of a
    byte of each. A file is read back and compared before its records leave PostgreSQL. Partitions that ended six hours
    ago can go cold; without --before all of them do, or those older than OTEL_INGEST_COLD_AFTER_DAYS where that is set.
    May be stopped and run again at any time, while records are stored; one at a time. A line a partition: records
    moved, files, bytes of blocks before and of files after. `partitions unpack` is the way back.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    if not settings.cold_url:
        typer.echo("error: set OTEL_INGEST_COLD_URL to a directory, or to a URL such as s3://bucket/prefix", err=True)
        raise typer.Exit(2)
    chosen = tables_of(tables)
    edge = edge_of(before) or datetime.now(UTC) - timedelta(days=settings.cold_after_days)
    os.nice(NICE)

    async def work() -> list[Any]:
        async with owner_engine(settings) as engine:
            found = await to_freeze(engine, edge, chosen, by_itself=by_itself)
            if dry_run:
                return found
            # Also where nothing is due: files of nobody go.
            return [moved async for moved in freeze(engine, settings.cold_url, found)]

    print_rows([asdict(row) for row in run(work())], as_json=as_json)
