"""Starts the three services under ``opentelemetry-instrument``, places orders, prints one whole trace through MCP."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import typer
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

_START_TIMEOUT_S = 40.0
_TRACE_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.2
_NEEDED = (
    "fastapi",
    "flask",
    "requests",
    "opentelemetry.distro",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.instrumentation.flask",
    "opentelemetry.instrumentation.requests",
    "opentelemetry.instrumentation.sqlite3",
)
_SERVICES = "otel_ingest.demo.services"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running server: its URLs, the tokens it wants, and how its clients prove themselves over TLS."""

    http_endpoint: str
    query_url: str
    read_token: str = field(repr=False)
    ingest_token: str | None = field(repr=False, default=None)
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def exporter_variables(self) -> dict[str, str]:
        """Return the OTEL_EXPORTER_OTLP_* variables of a service that exports here."""
        values: dict[str, object] = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.http_endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": self.ca_file,
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": self.client_cert,
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": self.client_key,
            "OTEL_EXPORTER_OTLP_HEADERS": self.ingest_token and f"authorization=Bearer%20{self.ingest_token}",
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for reading back from it."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.client_cert is not None:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context


async def run(target: Target, *, verbose: bool = False) -> int:
    """Return the exit code: 0 when a whole trace was printed; ``verbose`` shows what the services say."""
    missing = [name for name in _NEEDED if not _installed(name)]
    if missing:
        typer.echo(f"error: the demo needs {', '.join(missing)}; run: pip install 'otel-ingest[demo]'", err=True)
        return 1
    if not await _answers(target):
        return 1
    ports = {name: _free_port() for name in ("shop", "payments", "worker")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    async with httpx2.AsyncClient(timeout=20) as http:
        async with _services(ports, urls, target, verbose=verbose):
            try:
                await _until_healthy(http, urls)
            except TimeoutError:
                typer.echo(
                    f"error: the services did not start in {_START_TIMEOUT_S:.0f} s; --verbose shows why", err=True
                )
                return 1
            typer.echo("three services are up; placing orders, one of them too large to be paid")
            for number, amount in ((1, 19.9), (2, 5000.0), (3, 42.5)):
                answer = await http.post(f"{urls['shop']}/orders/{number}", params={"amount": amount})
                typer.echo(f"  order {number} over {amount:.2f}: HTTP {answer.status_code}")
        typer.echo("asking the MCP server\n")
        return await _print_traces(target)


async def _answers(target: Target) -> bool:
    """Return whether the server is there; else say where it was looked for."""
    async with httpx2.AsyncClient(timeout=20, verify=target.ssl_context()) as http:
        try:
            await http.get(f"{target.query_url}/healthz")
        except httpx2.TransportError as error:
            typer.echo(
                f"error: no server answers at {target.query_url} ({error}); start it with `otel-ingest up`, or name it "
                "with --query-endpoint and --http-endpoint",
                err=True,
            )
            return False
    return True


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _environment(name: str, urls: dict[str, str], target: Target) -> dict[str, str]:
    """Return all that instruments a service: variables, nothing else."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}  # noqa: TID251 - children inherit it
    if target.ca_file is not None:
        # requests prefers these to the certificate that an exporter was given.
        own = {k: v for k, v in own.items() if k not in {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}}
    return {
        **own,
        **target.exporter_variables(),
        "PAYMENTS_URL": urls["payments"],
        "WORKER_URL": urls["worker"],
        "OTEL_SERVICE_NAME": name,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_PYTHON_EXCLUDED_URLS": "health",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        "PYTHONUNBUFFERED": "1",
    }


@asynccontextmanager
async def _services(
    ports: dict[str, int], urls: dict[str, str], target: Target, *, verbose: bool
) -> AsyncIterator[None]:
    """Run the services; at the end SIGINT, so that each sends what it still holds."""
    bin_dir = Path(sys.executable).parent
    flask = [sys.executable, "-m", "flask", "--app"]
    commands = {
        "shop": [sys.executable, "-m", "uvicorn", "--log-level=warning", f"{_SERVICES}.shop:app"],
        "payments": [*flask, f"{_SERVICES}.payments", "run"],
        "worker": [*flask, f"{_SERVICES}.worker", "run"],
    }
    processes = [
        await asyncio.create_subprocess_exec(
            str(bin_dir / "opentelemetry-instrument"),
            *command,
            f"--port={ports[name]}",
            env=_environment(name, urls, target),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=None if verbose else asyncio.subprocess.DEVNULL,
        )
        for name, command in commands.items()
    ]
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        await asyncio.gather(*(_ended(process) for process in processes))


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_healthy(http: httpx2.AsyncClient, urls: dict[str, str]) -> None:
    async with asyncio.timeout(_START_TIMEOUT_S):
        for url in urls.values():
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    if (await http.get(f"{url}/health")).status_code == httpx2.codes.OK:
                        break
                await asyncio.sleep(_POLL_S)


async def _print_traces(target: Target) -> int:
    """Print the trace of the failed order as logger_trace draws it."""
    headers = {"Authorization": f"Bearer {target.read_token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=20, verify=target.ssl_context()) as http:
        transport = streamable_http_client(f"{target.query_url}/mcp", http_client=http)
        async with Client(transport) as client:
            failed = await _first(client, {"component": "payments", "status": "error", "since": "5m"})
            if failed is None:
                typer.echo("error: no trace of the failed order arrived; see the server's log", err=True)
                return 1
            answer = await client.call_tool("logger_trace", {"trace_id": failed, "view": "tree"})
            typer.echo(answer.content[0].text)  # type: ignore[union-attr]
            typer.echo(f"\nthe same in this terminal: otel-ingest trace {failed}")
    return 0


async def _first(client: Any, arguments: dict[str, Any]) -> str | None:
    """Return the newest matching trace id, waiting a little for what is on its way."""
    deadline = asyncio.get_running_loop().time() + _TRACE_TIMEOUT_S / 2
    while asyncio.get_running_loop().time() < deadline:
        answer = await client.call_tool("logger_search_traces", arguments)
        traces = (answer.structured_content or {}).get("traces", [])
        if traces:
            return str(traces[0]["trace_id"])
        if answer.is_error and "UNKNOWN_COMPONENT" in answer.content[0].text:
            return None
        await asyncio.sleep(_POLL_S)
    return None
