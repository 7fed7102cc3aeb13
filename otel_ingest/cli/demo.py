"""``otel-ingest demo``: three instrumented services, and one whole trace of theirs read back through MCP."""

from typing import Annotated

import typer

from otel_ingest.cli.common import DataDir, load_settings, run
from otel_ingest.demo import run as demo_run


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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the services print")] = False,
) -> None:
    """Start three small services under opentelemetry-instrument and print one whole trace of theirs.

    Needs a running `otel-ingest up`. The services (FastAPI, Flask, a worker) hold no line of OpenTelemetry:
    environment variables do all of it. The trace comes back through the MCP server over HTTP.
    """
    settings = load_settings(http_endpoint=http, query_endpoint=query, data_dir=data_dir)
    token_file = settings.data_dir / "tokens" / "read"
    try:
        token = token_file.read_text().strip()
    except OSError:
        typer.echo(
            f"error: no read token in {token_file}; start the server with `otel-ingest up` first "
            "(or name its directory with --data-dir)",
            err=True,
        )
        raise typer.Exit(1) from None
    raise typer.Exit(
        run(
            demo_run.run(
                http_endpoint=f"http://{settings.http_endpoint}",
                query_url=f"http://{settings.query_endpoint}",
                read_token=token,
                verbose=verbose,
            )
        )
    )
