"""``otel-ingest demo``: three instrumented services, and one whole trace of theirs read back through MCP."""

from pathlib import Path
from typing import Annotated

import typer

from otel_ingest.cli.common import DataDir, load_settings, run
from otel_ingest.config import Settings
from otel_ingest.demo import run as demo_run
from otel_ingest.tls_settings import Side


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("demo")(demo)


def demo(
    http: Annotated[
        str | None,
        typer.Option("--http-endpoint", help="OTLP/HTTP of a running server, host:port"),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query-endpoint", help="Query side of a running server, host:port"),
    ] = None,
    data_dir: DataDir = None,
    client_cert: Annotated[
        Path | None, typer.Option("--client-cert-file", help="Certificate to show to the server, PEM (mutual TLS)")
    ] = None,
    client_key: Annotated[Path | None, typer.Option("--client-key-file", help="Its key, PEM")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the services print")] = False,
) -> None:
    """Start three small services under opentelemetry-instrument and print one whole trace of theirs.

    Needs a running `otel-ingest up`. The services (FastAPI, Flask, a worker) hold no line of OpenTelemetry:
    environment variables do all of it. The trace comes back through the MCP server over HTTP. Where the server speaks
    TLS with a CA of your own, OTEL_INGEST_TLS_CA_FILE names it.
    """
    settings = load_settings(http_endpoint=http, query_endpoint=query, data_dir=data_dir)
    needs_token = settings.ingest_needs_token(settings.http_endpoint)
    target = demo_run.Target(
        http_endpoint=_url(settings, "http"),
        query_url=_url(settings, "query"),
        read_token=_token(settings, "read"),
        ingest_token=_token(settings, "admin") if needs_token else None,
        ca_file=settings.tls_ca_file,
        client_cert=client_cert,
        client_key=client_key,
    )
    raise typer.Exit(run(demo_run.run(target, verbose=verbose)))


def _url(settings: Settings, side: Side) -> str:
    """Return where a server with these settings is reached from this machine."""
    endpoint = getattr(settings, f"{side}_endpoint")
    host = "localhost" if endpoint.host in {"0.0.0.0", "::"} else endpoint.rpartition(":")[0]
    return f"{settings.scheme(side)}://{host}:{endpoint.port}"


def _token(settings: Settings, role: str) -> str:
    """Return a token of the data directory. Exit 1 with a sentence where there is none."""
    path = settings.data_dir / "tokens" / role
    try:
        return path.read_text().strip()
    except OSError:
        typer.echo(
            f"error: no {role} token in {path}; start the server with `otel-ingest up` first "
            "(or name its directory with --data-dir)",
            err=True,
        )
        raise typer.Exit(1) from None
