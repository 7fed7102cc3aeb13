"""``otel-ingest up``: PostgreSQL, both receivers and the query side in one process tree."""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from otel_ingest import log, memory
from otel_ingest.cli import compose, worker
from otel_ingest.cli.common import DatabaseUrl, DataDir, load_settings
from otel_ingest.cli.spooling import SpoolUnusableError
from otel_ingest.cli.supervisor import WorkerFailedError
from otel_ingest.config import Settings
from otel_ingest.sockets import AddressInUseError
from otel_ingest.tls import TlsError
from storage.errors import StoreError

_log = structlog.get_logger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("up")(up)
    app.command("worker", hidden=True)(receiver_worker)


def up(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    grpc: Annotated[str | None, typer.Option("--grpc-endpoint", help="OTLP/gRPC, host:port [127.0.0.1:4317]")] = None,
    http: Annotated[str | None, typer.Option("--http-endpoint", help="OTLP/HTTP, host:port [127.0.0.1:4318]")] = None,
    query: Annotated[
        str | None,
        typer.Option("--query-endpoint", help="MCP, JSON API, metrics [127.0.0.1:4319]"),
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Listen beyond loopback without TLS (behind a proxy)"),
    ] = None,
    tls_cert_file: Annotated[
        Path | None, typer.Option("--tls-cert-file", help="Certificate chain, PEM: all listeners speak TLS")
    ] = None,
    tls_key_file: Annotated[Path | None, typer.Option("--tls-key-file", help="Its private key, PEM")] = None,
    tls_client_ca_file: Annotated[
        Path | None, typer.Option("--tls-client-ca-file", help="Ask clients for a certificate of these CAs")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Receiver processes on the same ports [1]", min=1, max=16)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the ready line as a JSON object, nothing else")
    ] = False,
) -> None:
    """Start everything and print one line `ready grpc=… http=… query=…` once all of it answers.

    Without OTEL_INGEST_DATABASE_URL it runs its own PostgreSQL below --data-dir; with it, it uses that one
    (15 to 18) and never starts its own. Ctrl-C or SIGTERM: what was accepted is committed, then it stops.
    """
    settings = load_settings(
        data_dir=data_dir,
        database_url=database_url,
        grpc_endpoint=grpc,
        http_endpoint=http,
        query_endpoint=query,
        insecure=insecure,
        tls_cert_file=tls_cert_file,
        tls_key_file=tls_key_file,
        tls_client_ca_file=tls_client_ca_file,
        workers=workers,
    )
    _run(settings, serve(settings, as_json=as_json))


def receiver_worker() -> None:
    """Receive as one of several processes; started by `up --workers`, which says what to do on stdin."""
    line = _first_line()
    settings = load_settings(**json.loads(line)["settings"])
    _run(settings, _worker(line))


def _first_line() -> bytes:
    """Return the first line of stdin, and leave what comes after it to the event loop."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        return stdin.readline()


async def _worker(line: bytes) -> None:
    await worker.work(line, _stop_event())


def _run(settings: Settings, work: Coroutine[Any, Any, None]) -> None:
    """Run a server; what keeps it from starting is a sentence and exit 1."""
    log.configure(settings.log_level, as_json=settings.log_json)
    memory.spare_cycles()
    memory.tame()
    memory.raise_files_limit(2 * settings.connections_max)
    try:
        with asyncio.Runner(loop_factory=compose.loop_factory()) as runner:
            runner.run(work)
    except (StoreError, AddressInUseError, SpoolUnusableError, TlsError, WorkerFailedError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


async def serve(settings: Settings, *, as_json: bool) -> None:
    """Run until SIGINT or SIGTERM; stop in the reverse order of the start. A second signal ends it at once."""
    stop = _stop_event()
    async with AsyncExitStack() as stack:
        ready = await compose.start(settings, stack)
        sys.stdout.write((ready.as_json() if as_json else ready.line()) + "\n")
        sys.stdout.flush()
        if not as_json:
            sys.stderr.write(ready.next_steps())
            sys.stderr.flush()
        await stop.wait()
        _log.info("stopping: finishing what was accepted")
    _log.info("stopped")


def _stop_event() -> asyncio.Event:
    """Return an event that the first SIGINT or SIGTERM sets; the second cancels the waiting for a clean end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main_task = asyncio.current_task()

    def handle() -> None:
        if stop.is_set() and main_task is not None:
            main_task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle)
    return stop
