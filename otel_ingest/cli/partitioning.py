"""``otel-ingest partitions``: what is there, what upkeep would do, doing it now, periods, and how long what is kept."""

import getpass
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from mcp_tools import render
from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from otel_ingest.cli import access, cold, packing
from otel_ingest.cli.acting import open_acting
from otel_ingest.cli.common import DatabaseUrl, DataDir, Json, load_settings, print_rows, run
from otel_ingest.config import Settings
from storage import maintenance, partitions
from storage.engine import AsyncEngine, write_engine
from storage.packing.states import partition_states
from storage.periods import PERIODS
from storage.retention.planning import Step
from storage.retention.rules import SIGNALS

T = TypeVar("T")
# Who types the command waits for it; what is left is done by the next upkeep.
_APPLY_S_MAX = 3600.0

partitions_app = typer.Typer(
    help="Look at partitions; plan and do what is due; pack them, or let them go cold; set periods and retention."
)
retention_app = typer.Typer(help="How long records are kept: show, set and unset rules.")
partitions_app.add_typer(retention_app, name="retention")

Signal = Annotated[str, typer.Argument(help="logs, spans or metrics")]
Component = Annotated[str | None, typer.Option("--component", "-c", help="Of logs: one component")]
SeverityMin = Annotated[str | None, typer.Option(help="Of logs: this severity and above, as error")]
SeverityMax = Annotated[str | None, typer.Option(help="Of logs: this severity and below, as debug")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit log")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask where records would go at once")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(partitions_app, name="partitions")
    packing.register(partitions_app)
    cold.register(partitions_app)


@partitions_app.callback(invoke_without_command=True)
def show(
    context: typer.Context, data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False
) -> None:
    """List the partitions, one a line.

    Table, name, from, to, state (open, closed, packed or cold), rows (estimated by PostgreSQL), packed records, bytes
    with indexes and blocks, records in cold files, bytes of these.
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    found = run(_as_owner(settings, lambda e: partition_states(e, datetime.now(UTC))))
    print_rows([asdict(p) for p in found], as_json=as_json)


@partitions_app.command("plan")
def plan(data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Print what upkeep would do now, each step with its reason; nothing is changed. "none": all is as it should be."""
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    ahead = settings.partitions_ahead_days
    found = run(_as_owner(settings, lambda e: maintenance.plan(e, datetime.now(UTC), ahead)))
    print_rows([_row(step) for step in found], as_json=as_json)


@partitions_app.command("apply")
def apply(data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Do what `plan` prints, now, beside receivers that run; each step is looked at again before it is done.

    `up` does it by itself every ten minutes where it knows the owner's URL; without that, run this by cron with it.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    now = datetime.now(UTC)

    async def work(engine: AsyncEngine) -> list[dict[str, Any]]:
        due = await maintenance.plan(engine, now, settings.partitions_ahead_days)
        await partitions.maintain(engine, now, settings.partitions_ahead_days)
        made = [_row(step) | {"deleted": None, "failed": ""} for step in due if step.kind == "make"]
        done = await maintenance.apply(engine, now, _APPLY_S_MAX)
        return made + [_row(each.step) | {"deleted": each.rows, "failed": each.failed} for each in done]

    rows = run(_as_owner(settings, work))
    print_rows(rows, as_json=as_json)
    if any(row["failed"] for row in rows):
        raise typer.Exit(1)


@partitions_app.command("period")
def period(
    signal: Annotated[str | None, typer.Argument(help="logs, spans or metrics [all are shown]")] = None,
    value: Annotated[str | None, typer.Argument(metavar="PERIOD", help="hour, day, week or default")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Show or set how long new partitions last. Those that are there keep their bounds, new ones fill the gaps."""
    if signal is not None and signal not in SIGNALS:
        _refuse(f"signal {signal!r}; one of {', '.join(SIGNALS)}")
    if signal is not None and value not in {*PERIODS, "default"}:
        _refuse(f"period {value!r}; one of {', '.join(PERIODS)} or default")
    settings = load_settings(data_dir=data_dir, database_url=database_url)

    async def work(engine: AsyncEngine) -> dict[str, str]:
        if signal is not None:
            await partitions.set_period(engine, SIGNALS[signal], None if value == "default" else value)
        return await partitions.periods(engine)

    found = run(_as_owner(settings, work))
    print_rows([{"signal": s, "period": found[table]} for s, table in SIGNALS.items()], as_json=as_json)


@retention_app.callback(invoke_without_command=True)
def retention_show(
    context: typer.Context, data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False
) -> None:
    """Show the rules, how much there is of each signal, and what goes next."""
    if context.invoked_subcommand is None:
        _say(_ask(load_settings(data_dir=data_dir, database_url=database_url), "logger_retention", {}), as_json=as_json)


@retention_app.command("show")
def retention_show_(data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Show the rules, how much there is of each signal, and what goes next."""
    _say(_ask(load_settings(data_dir=data_dir, database_url=database_url), "logger_retention", {}), as_json=as_json)


@retention_app.command("set")
def retention_set(
    signal: Signal,
    keep: Annotated[str, typer.Argument(help='How long: "30d", "12h", "13w" or "forever"')],
    reason: Reason,
    component: Component = None,
    severity_min: SeverityMin = None,
    severity_max: SeverityMax = None,
    yes: Yes = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Keep records for so long. Of the rules a record meets the one with most conditions decides, then the longest.

    otel-ingest partitions retention set logs 3d --severity-max debug --reason "debug is noise after a weekend"
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    _change(settings, _rule(signal, keep, component, severity_min, severity_max, reason), yes=yes, as_json=as_json)


@retention_app.command("unset")
def retention_unset(
    signal: Signal,
    reason: Reason,
    component: Component = None,
    severity_min: SeverityMin = None,
    severity_max: SeverityMax = None,
    yes: Yes = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """End a rule; what no rule is about is kept forever."""
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    _change(settings, _rule(signal, "unset", component, severity_min, severity_max, reason), yes=yes, as_json=as_json)


def _rule(
    signal: str, keep: str, component: str | None, least: str | None, most: str | None, reason: str
) -> dict[str, Any]:
    given = {"signal": signal, "keep": keep, "component": component, "reason": reason}
    given |= {"severity_min": least, "severity_max": most}
    return {name: value for name, value in given.items() if value is not None}


def _change(settings: Settings, given: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    """Set a rule; where records would go at once, only after a yes."""
    answer = _ask(settings, "logger_set_retention", given)
    if answer.data["dry_run"]:
        if not yes and (as_json or not sys.stdin.isatty()):
            _say(answer, as_json=as_json)
            typer.echo("nothing was changed: records would go at once; --yes does it", err=True)
            raise typer.Exit(1)
        if not yes:
            typer.echo(answer.text)
            typer.confirm("Let them go?", abort=True)
        answer = _ask(settings, "logger_set_retention", given | {"confirm": answer.data["confirm"]})
    _say(answer, as_json=as_json)


def _ask(settings: Settings, tool: str, arguments: dict[str, Any]) -> Answer:
    async def work() -> Answer:
        async with open_acting(settings) as (reader, control):
            caller = f"terminal:{getpass.getuser()}"
            return await call(reader, "admin", tool, arguments, caller=caller, control=control)

    try:
        return run(work())
    except UserInputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def _say(answer: Answer, *, as_json: bool) -> None:
    typer.echo(json.dumps(answer.data) if as_json else answer.text)


def _refuse(sentence: str) -> None:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(2)


async def _as_owner(settings: Settings, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    engine = write_engine((await access.running(settings)).owning(settings))
    try:
        return await work(engine)
    finally:
        await engine.dispose()


def _row(step: Step) -> dict[str, Any]:
    return {
        "step": step.kind,
        "partition": step.name,
        "from": step.bounds.since,
        "to": step.bounds.until,
        "rows": step.rows,
        "bytes": step.bytes,
        "reason": render.clean(step.reason),
    }
