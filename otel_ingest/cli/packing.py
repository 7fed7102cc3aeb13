"""``otel-ingest partitions pack`` and ``unpack``: closed partitions as compressed blocks, and back."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer

from otel_ingest.cli import access
from otel_ingest.cli.common import DatabaseUrl, DataDir, Json, load_settings, print_rows, run
from otel_ingest.config import Settings
from storage.cold.upkeep import thaw
from storage.columns import TELEMETRY_TABLES
from storage.engine import AsyncEngine, write_engine
from storage.packing.packer import pack_partition, to_pack, unpack_partition
from storage.partitions import list_partitions

_TABLES = tuple(t.name for t in TELEMETRY_TABLES)
# Behind whatever receives and answers on this machine.
NICE = 10

Tables = Annotated[list[str] | None, typer.Option("--table", help=f"{', '.join(_TABLES)}; repeatable [all]")]
Before = Annotated[str | None, typer.Option("--before", help="Day (2026-11-24, UTC): partitions of earlier days")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``, the group ``partitions``."""
    app.command("pack")(pack)
    app.command("unpack")(unpack)


def pack(
    before: Before = None,
    tables: Tables = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be packed, and change nothing")] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Pack closed partitions: some hundred records of one component become one row of compressed columns.

    They take a tenth of the bytes or less, and every question, export and deletion of otel-ingest finds them as before;
    SQL of your own does not. Partitions that ended six hours ago can be packed; without --before all of them are, or
    those older than OTEL_INGEST_PACK_AFTER_DAYS where that is set. May be stopped and run again at any time, while
    records are stored. A line a partition: what moved, and its bytes before and after.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    chosen = tables_of(tables)
    edge = edge_of(before) or datetime.now(UTC) - timedelta(days=settings.pack_after_days)
    os.nice(NICE)

    async def work() -> list[Any]:
        async with owner_engine(settings) as engine:
            found = await to_pack(engine, edge, chosen)
            return found if dry_run else [await pack_partition(engine, partition) for partition in found]

    print_rows([asdict(done) for done in run(work())], as_json=as_json)


def unpack(
    before: Before = None,
    tables: Tables = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Make rows again of packed and cold records, all or those of days before --before. Needed before a downgrade."""
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    chosen = tables_of(tables)
    edge = edge_of(before) or datetime.now(UTC)
    os.nice(NICE)

    async def work() -> list[dict[str, Any]]:
        async with owner_engine(settings) as engine:
            found = [p for p in await list_partitions(engine) if p.table in chosen and p.until <= edge]
            counts = []
            for partition in found:
                await thaw(engine, settings.cold_url, partition)
                counts.append((partition, await unpack_partition(engine, partition)))
        return [{"table": p.table, "partition": p.name, "records": count} for p, count in counts if count]

    print_rows(run(work()), as_json=as_json)


@asynccontextmanager
async def owner_engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Yield the owner's engine on the configured PostgreSQL, or on the embedded one that runs. Raises StoreError."""
    engine = write_engine((await access.running(settings)).owning(settings))
    try:
        yield engine
    finally:
        await engine.dispose()


def tables_of(names: list[str] | None) -> list[str]:
    """Return the tables that are named; exit 2 for one that is none."""
    for name in names or ():
        if name not in _TABLES:
            typer.echo(f"error: table {name!r}; one of {', '.join(_TABLES)}", err=True)
            raise typer.Exit(2)
    return names or list(_TABLES)


def edge_of(before: str | None) -> datetime | None:
    """Return the beginning of a day; exit 2 where it is none."""
    if before is None:
        return None
    try:
        day = date.fromisoformat(before)
    except ValueError:
        typer.echo(f"error: --before {before!r} is not a day, for example 2026-11-24", err=True)
        raise typer.Exit(2) from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
