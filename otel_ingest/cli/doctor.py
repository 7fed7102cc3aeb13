"""``otel-ingest doctor``: looks at this installation and its store as they are; a line a check."""

import json
import platform
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Annotated, Literal, TypeVar

import typer

from otel_ingest import native
from otel_ingest.cli import access
from otel_ingest.cli.access import Access
from otel_ingest.cli.common import DatabaseUrl, DataDir, load_settings, run
from otel_ingest.config import Settings
from otel_ingest.tls import EXPIRY_WARNING, TlsError, load
from otel_ingest.tls_settings import SIDES
from storage import health, roles, tokens
from storage.cold.upkeep import missing_files
from storage.columns import TELEMETRY_TABLES
from storage.engine import AsyncEngine, read_engine, write_engine
from storage.errors import StoreError
from storage.health import ServerFacts
from storage.packing.states import PartitionState, partition_states
from storage.retention import store as retention
from storage.retention.rules import SIGNALS, keep_words
from storage.retention.store import SetRule

_FREE_MIB_MIN = 1024
# Windows of requests and of tokens are told by PostgreSQL's clock, times of records by the senders'.
_SKEW_S_MAX = 2.0
_PACKING_LATE = timedelta(days=1)
_NO_OWNER = "not known here: no look at partitions and tokens; retention is for `partitions apply`, as the owner"

T = TypeVar("T")
Verdict = Literal["ok", "warning", "wrong"]
_SHOWN = {"ok": "ok   ", "warning": "WARN ", "wrong": "WRONG"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, what was found."""

    check: str
    verdict: Verdict
    detail: str

    def data(self) -> dict[str, object]:
        """Return it for --json; ``ok`` is false for what is wrong alone."""
        return asdict(self) | {"ok": self.verdict != "wrong"}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("doctor")(doctor)


def doctor(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines")] = False,
) -> None:
    """Check this installation and its store, one line a check; exit 1 when something is wrong.

    Looks at versions, disk, certificates, PostgreSQL (version, clock, durability, locks), roles, partitions, tokens.
    """
    checks = run(_diagnose(load_settings(data_dir=data_dir, database_url=database_url)))
    if as_json:
        typer.echo(json.dumps([check.data() for check in checks]))
    else:
        for check in checks:
            typer.echo(f"{_SHOWN[check.verdict]} {check.check}: {check.detail}")
    if any(check.verdict == "wrong" for check in checks):
        raise typer.Exit(1)


async def _diagnose(settings: Settings) -> list[Check]:
    kind = "external" if settings.is_external else f"embedded below {settings.data_dir}"
    checks = [
        Check("version", "ok", f"otel-ingest {version('otel-ingest')}, Python {platform.python_version()}"),
        Check("database", "ok", kind),
        _decoding(),
        *_disk(settings),
        *_certificates(settings),
    ]
    try:
        way = await access.running(settings)
        return [*checks, *await _store(settings, way)]
    except StoreError as error:
        return [*checks, Check("store", "wrong", str(error))]


def _decoding() -> Check:
    if native.available:
        return Check("decoding", "ok", "compiled")
    return Check(
        "decoding", "warning", "by Python alone, some ten times slower: no C compiler was there at installation"
    )


def _disk(settings: Settings) -> list[Check]:
    if not settings.data_dir.exists():
        return []
    free_mib = shutil.disk_usage(settings.data_dir).free // (1024 * 1024)
    enough = free_mib > _FREE_MIB_MIN
    return [Check("disk", "ok" if enough else "wrong", f"{free_mib} MiB free in the data directory")]


def _certificates(settings: Settings) -> list[Check]:
    """Return a line for each listener with TLS."""
    checks = []
    for side in SIDES:
        files = settings.tls_files(side)
        if files is None:
            continue
        try:
            pair = load(files)
        except TlsError as error:
            checks.append(Check(f"tls {side}", "wrong", str(error)))
            continue
        left = pair.not_after - datetime.now(UTC)
        verdict: Verdict = "wrong" if left.total_seconds() < 0 else "warning" if left < EXPIRY_WARNING else "ok"
        says = f"{files.cert} ends {pair.not_after:%Y-%m-%d}, {left.days} days; {', '.join(pair.names) or 'no names'}"
        checks.append(Check(f"tls {side}", verdict, says))
    return checks


async def _store(settings: Settings, way: Access) -> list[Check]:
    began = time.time()
    facts = await _with(read_engine(way.reading(settings)), health.ask)
    checks = [*_server(facts, began, time.time()), *await _roles(way)]
    if way.owner is None:
        return [
            *checks,
            Check(
                "owner", "ok", "not known here: partitions and tokens are not looked at, retention is not carried out"
            ),
        ]
    engine = write_engine(way.owning(settings))
    now = datetime.now(UTC)
    there = await _with(engine, partial(partition_states, now=now))
    known = await _with(engine, tokens.list_tokens)
    missing = [
        t.name for t in TELEMETRY_TABLES if not any(p.table == t.name and p.since <= now < p.until for p in there)
    ]
    found = f"{len(there)}; {'none of today for ' + ', '.join(missing) if missing else 'today is there'}"
    checks += [Check("partitions", "wrong" if missing else "ok", found), _packing(settings, there, now)]
    checks += await _cold(settings, way, there)
    checks.append(_retention(await _with(write_engine(way.owning(settings)), retention.rules)))
    valid = [t for t in known if t.revoked_at is None and (t.expires_at is None or t.expires_at > datetime.now(UTC))]
    return [*checks, _tokens(settings, {t.role for t in valid}, len(valid))]


def _packing(settings: Settings, there: list[PartitionState], now: datetime) -> Check:
    """Return how much is packed, and whether what should be packed by itself is."""
    packed = sum(p.state == "packed" for p in there)
    if not settings.pack_after_days:
        return Check("packing", "ok", f"off; {packed} partitions are packed")
    edge = now - timedelta(days=settings.pack_after_days) - _PACKING_LATE
    late = [p.name for p in there if p.state == "closed" and p.rows and p.until <= edge]
    waiting = f"; {len(late)} wait for a day and more, {late[0]} first: see the server's log" if late else ""
    return Check("packing", "warning" if late else "ok", f"{packed} partitions are packed{waiting}")


async def _cold(settings: Settings, way: Access, there: list[PartitionState]) -> list[Check]:
    """Return how much is in cold files, and whether each can be read here."""
    mine = [p for p in there if p.cold_records]
    if not mine and not settings.cold_url:
        return [Check("cold", "ok", "off; nothing is in cold files")]
    held = f"{sum(p.cold_records for p in mine):,} records of {len(mine)} partitions in cold files"
    engine = write_engine(way.owning(settings))
    try:
        lacking = await _with(engine, partial(missing_files, url=settings.cold_url))
    except StoreError as error:
        return [Check("cold", "wrong", f"{held}: {error}")]
    if lacking:
        return [Check("cold", "wrong", f"{held}: {len(lacking)} files are missing, {lacking[0]} first")]
    return [Check("cold", "ok", f"{held}; all are there")]


async def _with(engine: AsyncEngine, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    try:
        return await work(engine)
    finally:
        await engine.dispose()


def _server(facts: ServerFacts, asked_s: float, answered_s: float) -> list[Check]:
    """Return version, clock, durability, its log and locks."""
    supported = health.VERSION_MIN <= facts.major <= health.VERSION_MAX
    range_ = f"{health.VERSION_MIN} to {health.VERSION_MAX}"
    standby = ", a standby: it takes no writes" if facts.standby else ""
    told = f"PostgreSQL {facts.version}{standby}{'' if supported else f'; tried with {range_}'}"
    too_old = facts.major < health.VERSION_MIN
    worst: Verdict = "wrong" if facts.standby or too_old else "ok" if supported else "warning"
    now = facts.now.timestamp()
    skew_s = max(asked_s - now, now - answered_s, 0.0)
    checks = [
        Check("store", worst, told),
        Check("clock", "ok" if skew_s < _SKEW_S_MAX else "warning", f"{skew_s:.1f} s from PostgreSQL's"),
    ]
    return [
        *checks,
        _unless("durability", "; ".join(facts.durability()), "acknowledged is on its disk"),
        _unless("write-ahead log", facts.slow(), f"wal_compression {facts.compression}"),
        _unless("locks", facts.locks_short(), f"room for {facts.locks}"),
    ]


def _unless(check: str, warning: str | None, well: str) -> Check:
    """Return a check that warns of ``warning``, where there is one, and else says that all is well."""
    return Check(check, "warning" if warning else "ok", warning or well)


_WITHOUT = {"eraser": "none: nothing can be deleted on demand", "sql": "none: logger_sql cannot be offered"}


async def _roles(way: Access) -> list[Check]:
    """Return whether writing and reading happen with their own roles, and what these lack."""
    checks = []
    for name, role, url, taken in (
        ("writer", roles.WRITER, way.write, way.write_role),
        ("reader", roles.READER, way.read, way.read_role),
        ("eraser", roles.ERASER, way.erase, way.erase_role),
        ("sql", roles.SQL, way.sql, None),
    ):
        if url is None:
            checks.append(Check(name, "ok", _WITHOUT[name]))
            continue
        if url == way.owner:
            says = f"the owner, as {taken} (SET ROLE)" if taken else "the owner itself: `otel-ingest migrate --roles`"
            checks.append(Check(name, "ok" if taken else "warning", says))
            continue
        lacking = await roles.missing(url, role)
        user = roles.login_of(url)[0]
        says = f"{user} lacks {', '.join(lacking)}; run `otel-ingest migrate --roles`" if lacking else user
        checks.append(Check(name, "wrong" if lacking else "ok", says))
    return checks


def _retention(rules: list[SetRule]) -> Check:
    """Return how long each signal is kept; one without a rule fills the disk."""
    kept = {found.rule.selector.signal: found.rule.keep_s for found in rules if not found.rule.selector.conditions}
    says = ", ".join(f"{signal} {keep_words(kept.get(signal))}" for signal in SIGNALS)
    more = len(rules) - len(kept)
    says += f", and {more} rules of components or severities" if more else ""
    how = "" if len(kept) == len(SIGNALS) else "; `otel-ingest partitions retention set SIGNAL 30d` bounds it"
    return Check("retention", "warning" if how else "ok", says + how)


def _tokens(settings: Settings, valid: set[str], count: int) -> Check:
    needed = any(settings.ingest_needs_token(e) for e in (settings.grpc_endpoint, settings.http_endpoint))
    if needed and "ingest" not in valid:
        return Check("tokens", "warning", "exports need one, there is none: `otel-ingest token create --role ingest`")
    return Check("tokens", "ok" if count else "warning", f"{count} valid")
