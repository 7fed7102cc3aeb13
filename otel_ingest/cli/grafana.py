"""``otel-ingest grafana``: a login that only reads, and the data source that Grafana is given with it."""

import json
import secrets
from typing import Annotated

import typer

from otel_ingest.cli import access
from otel_ingest.cli.common import DatabaseUrl, DataDir, Json, load_settings, run
from storage import roles
from storage.engine import psycopg_url

_NAME = "otel_ingest_grafana"
_PORT = 5432
_PASSWORD_BYTES = 24
_SOURCE = """\
# {sentence}
apiVersion: 1
datasources:
  - name: otel-ingest
    type: grafana-postgresql-datasource
    access: proxy
    url: {url}
    user: {user}
    jsonData: {{database: {database}, sslmode: {sslmode}, postgresVersion: 1500, maxOpenConns: 10}}
    secureJsonData: {{password: {password}}}
"""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("grafana")(grafana)


def grafana(
    name: Annotated[str, typer.Option(help="Name of the login")] = _NAME,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Make a login that may only read, and print the data source for Grafana; again: a new password.

    The login has the rights of the reader's role: no writes, statements of 30 s at most. Put what is printed into
    provisioning/datasources/otel-ingest.yaml and examples/grafana/*.json beside your dashboards.
    """
    settings = load_settings(data_dir=data_dir, database_url=database_url)
    password = secrets.token_urlsafe(_PASSWORD_BYTES)

    async def work() -> str:
        owner = (await access.running(settings)).owning(settings).url
        await roles.make_login(owner, name, password)
        return owner

    source = _source(run(work()), name, password)
    typer.echo(json.dumps(source) if as_json else _SOURCE.format(**source))


def _source(owner: str, name: str, password: str) -> dict[str, str]:
    """Return what Grafana needs to know, from the owner's URL."""
    url = psycopg_url(owner)
    host = str(url.query.get("host") or url.host or "localhost")
    by_socket = host.startswith("/")
    sentence = (
        "PostgreSQL listens on a socket that its own user alone may use: Grafana has to run as this user"
        if by_socket
        else "Grafana's data source for otel-ingest; examples/grafana has dashboards"
    )
    return {
        "sentence": sentence,
        "url": host if by_socket else f"{host}:{url.port or _PORT}",
        "user": name,
        "database": url.database or "",
        "sslmode": str(url.query.get("sslmode", "disable" if by_socket else "require")),
        "password": password,
    }
