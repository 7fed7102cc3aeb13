"""``otel-ingest run -- command``: any program with the OTEL_* variables that make it send here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from otel_ingest.cli.common import load_settings
from otel_ingest.tls_settings import Side

_VERSIONED = {"python", "python3", "node", "ruby", "java", "deno", "bun", "uv", "npx", "opentelemetry-instrument"}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(run)


def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --")],
    name: Annotated[str | None, typer.Option("--name", help="service.name [the program's own name]")] = None,
    http_endpoint: Annotated[
        str | None, typer.Option("--http-endpoint", help="OTLP/HTTP of a running server, host:port")
    ] = None,
) -> None:
    """Start a program so that it sends its telemetry here: otel-ingest run --name shop -- python app.py .

    Sets OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL and the exporters, where they are
    not set already. It is what the program's OpenTelemetry SDK reads; `opentelemetry-instrument` in front of a Python
    program brings one along.
    """
    flags = {"http_endpoint": http_endpoint} if http_endpoint else {}
    settings = load_settings(**flags)
    environ = dict(os.environ)  # noqa: TID251 - what the program is started with
    side: Side = "grpc" if environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" else "http"
    listens = settings.grpc_endpoint if side == "grpc" else settings.http_endpoint
    if not listens.port:
        typer.echo("error: the server picks its own port; name it with --http-endpoint host:port", err=True)
        raise typer.Exit(2)
    endpoint = f"{settings.scheme(side)}://{reachable(listens)}"
    try:
        os.execvpe(command[0], command, environ | missing(environ, endpoint, name or service_name(command)))  # noqa: S606
    except FileNotFoundError:
        typer.echo(f"error: there is no program {command[0]!r}", err=True)
        raise typer.Exit(127) from None
    except PermissionError:
        typer.echo(f"error: {command[0]!r} cannot be executed", err=True)
        raise typer.Exit(126) from None


def missing(environ: Mapping[str, str], endpoint: str, name: str) -> dict[str, str]:
    """PURE: return the variables that are not set, so that a program sends to ``endpoint`` as ``name``."""
    attributes = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    wanted = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
    }
    if not any(pair.partition("=")[0].strip() == "service.name" for pair in attributes.split(",")):
        wanted["OTEL_SERVICE_NAME"] = name
    return {key: value for key, value in wanted.items() if not environ.get(key)}


def service_name(command: list[str]) -> str:
    """PURE: return what a program is called: its script's name where it is an interpreter's, its own otherwise."""
    program = Path(command[0]).name
    rest = command[1:]
    if program.rstrip("0123456789.") not in _VERSIONED and program not in _VERSIONED:
        return program
    for index, word in enumerate(rest):
        if word == "-m" and index + 1 < len(rest):
            return rest[index + 1]
        if not word.startswith("-"):
            inner = service_name(rest[index:])
            return Path(inner).stem or program
    return program


def reachable(address: str) -> str:
    """PURE: return an address that a program on this machine can connect to."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]", ""} else address
