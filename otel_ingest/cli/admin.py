"""Commands for who runs the server: tokens, partitions, migrate, doctor, mcp over stdio."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from mcp_tools.stdio import run_stdio
from otel_ingest.cli import access
from otel_ingest.cli.common import (
    DatabaseUrl,
    DataDir,
    Json,
    load_settings,
    open_reader,
    print_rows,
    run,
)
from otel_ingest.config import Settings
from storage import migrate as migrations
from storage import roles, tokens
from storage.engine import AsyncEngine, write_engine

token_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke tokens.")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(token_app, name="token")
    app.command("migrate")(migrate)
    app.command("mcp")(mcp)


@asynccontextmanager
async def _engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = write_engine((await access.running(settings)).owning(settings))
    try:
        yield engine
    finally:
        await engine.dispose()


async def _with_engine(settings: Settings, work: Callable[[AsyncEngine], Awaitable[Any]]) -> Any:
    async with _engine(settings) as engine:
        return await work(engine)


@token_app.command("create")
def token_create(
    role: Annotated[str, typer.Option(help="ingest, read, control or admin")],
    name: Annotated[str, typer.Option(help="Who or what it is for, for example ci-agent")],
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires [never]")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a token and print it once; only its hash is stored."""
    if role not in tokens.ROLES:
        typer.echo(f"error: role {role!r}; one of {', '.join(tokens.ROLES)}", err=True)
        raise typer.Exit(2)
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    text, _ = run(_with_engine(settings, lambda e: tokens.create(e, name, role, expires_at)))
    typer.echo(text)


@token_app.command("list")
def token_list(data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """List tokens: name, role, when made, expiring, revoked, last used. Never the token itself."""
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    found = run(_with_engine(settings, tokens.list_tokens))
    print_rows([asdict(token) for token in found], as_json=as_json)


@token_app.command("revoke")
def token_revoke(
    name: Annotated[str, typer.Argument(help="Name or id, as `token list` shows it")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Revoke a token; the next request with it is refused."""
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    count = run(_with_engine(settings, lambda e: tokens.revoke(e, name)))
    if not count:
        typer.echo(f"error: no token {name!r} that is still valid; see `otel-ingest token list`", err=True)
        raise typer.Exit(1)
    typer.echo(f"revoked {name}")


def migrate(
    with_roles: Annotated[
        bool,
        typer.Option("--roles", help="Make the roles otel_ingest_writer, _reader and _eraser with their rights"),
    ] = False,
    print_roles: Annotated[bool, typer.Option("--print-roles", help="Print the SQL of --roles instead")] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Bring the schema to the newest revision; safe to run by several at once. `up` does it by itself.

    With --roles the users of OTEL_INGEST_DATABASE_WRITE_URL, _READ_URL, _ERASE_URL and _SQL_URL, where these are set,
    become members of the roles (they must exist); a URL whose user is the role itself makes a login of it, with the
    password of the URL. Run it again after each upgrade.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)

    async def work() -> None:
        owner = (await access.running(settings)).owning(settings).url
        if print_roles:
            typer.echo(";\n".join(await roles.script(owner)) + ";")
            return
        await migrations.upgrade(owner)
        typer.echo("the schema is at its newest revision")
        if with_roles:
            passwords, members = _logins(settings)
            await roles.grant(owner, passwords, members)
            typer.echo(f"the roles {', '.join(roles.TABLES_OF)} have their rights")

    run(work())


def _logins(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Return role -> password for URLs of the roles themselves, and role -> user for those of others."""
    passwords, members = {}, {}
    for role, secret in (
        (roles.WRITER, settings.database_write_url),
        (roles.READER, settings.database_read_url),
        (roles.ERASER, settings.database_erase_url),
        (roles.SQL, settings.database_sql_url),
    ):
        if secret is None:
            continue
        user, password = roles.login_of(secret.get_secret_value())
        if user != role:
            members[role] = user
        elif password:
            passwords[role] = password
    return passwords, members


def mcp(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Serve the read tools of MCP over stdio, read-only, for an agent on this machine."""
    settings = load_settings(data_dir=data_dir, database_url=database_url)

    async def work() -> None:
        async with open_reader(settings) as reader:
            await run_stdio(reader)

    run(work())
