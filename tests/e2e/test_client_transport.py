"""The distributions over TLS with certificates, through proxies, and with what waits from another protocol."""

import base64
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from instrumentation.tests import sink as recording
from tests import harness
from tests.certificates import Authority, Files
from tests.e2e.test_node import PACKAGE, node_package

__all__ = ["node_package"]  # a fixture

PYTHON = "import logging; logging.getLogger().setLevel(20); logging.info('by python')"
NODE = "console.log('by node')"
HOST = "collector.test"  # resolved by the proxy alone
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(params=["python", "node"])
def language(request: pytest.FixtureRequest) -> str:
    """Return each language in turn; Node where it is."""
    if request.param == "node":
        request.getfixturevalue("node_package")
    return str(request.param)


class World:
    """A server that wants certificates for exports, and who may talk to it."""

    def __init__(self, directory: Path) -> None:
        self.servers = Authority(directory / "servers")
        self.client = Authority(directory / "clients").issue("client")
        self.server: harness.Server

    def certificates(self, client: Files | None) -> dict[str, str]:
        """Return the standard's variables."""
        own = {"CLIENT_CERTIFICATE": client.cert, "CLIENT_KEY": client.key} if client else {}
        paths = {"CERTIFICATE": self.servers.ca_file, **own}
        return {f"OTEL_EXPORTER_OTLP_{name}": str(path) for name, path in paths.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a server with mutual TLS."""
    directory = tmp_path_factory.mktemp("tls")
    one = World(directory)
    pair = one.servers.issue("tls", "localhost", "127.0.0.1", HOST)
    with harness.running(
        directory / "data",
        tls=ssl.create_default_context(cafile=one.servers.ca_file),
        OTEL_INGEST_TLS_CERT_FILE=str(pair.cert),
        OTEL_INGEST_TLS_KEY_FILE=str(pair.key),
        OTEL_INGEST_TLS_CLIENT_CA_FILE=str(directory / "clients" / "ca.pem"),
        OTEL_INGEST_QUERY_TLS_CLIENT_CA_FILE="none",
    ) as one.server:
        yield one


def run(language: str, spool: Path, endpoint: str, **more: str) -> str:
    """Run an application that logs one record, by its environment alone; return its stderr."""
    environment = recording.environment(endpoint, spool, OTEL_METRICS_EXPORTER="none") | more
    command = recording.instrument(sys.executable, "-c", PYTHON)
    if language == "node":
        command = [str(shutil.which("node")), "--require", str(PACKAGE / "register.js"), "-e", NODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def stored(server: harness.Server, component: str) -> int:
    """Return how many log records of a component there are."""
    with server.sql() as cursor:
        cursor.execute("SELECT count(*) FROM log_records WHERE component = %s", (component,))
        return int(str(cursor.fetchone()[0]))  # type: ignore[index]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_certificates(world: World, tmp_path: Path, language: str, protocol: str) -> None:
    """Without the certificate that the server asks for the record waits on disk; with it both arrive."""
    name = f"{language}-{protocol}"
    endpoint = f"https://{world.server.grpc if protocol == 'grpc' else world.server.http}"
    standard = {"OTEL_SERVICE_NAME": name, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_INGEST_CLIENT_EXIT_S": "5"}

    run(language, tmp_path, endpoint, **standard, **world.certificates(None))
    assert stored(world.server, name) == 0
    assert [p for p in tmp_path.rglob("*") if p.is_file()]

    said = ""
    for _ in range(3):  # the spool is looked at beside the application, which may be gone before it was sent
        said += run(language, tmp_path, endpoint, **standard, **world.certificates(world.client))
        if not [p for p in tmp_path.rglob("*") if p.is_file()]:
            break
    assert stored(world.server, name) >= 2, said


@contextmanager
def proxy(target: str) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that leads HOST to ``target`` (host:port); yield its URL and the heads of the requests it got."""
    heads: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, target, heads), daemon=True).start()
        yield f"http://me:p%40ss@127.0.0.1:{listener.getsockname()[1]}", heads


def _accept(listener: socket.socket, target: str, heads: list[str]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, target, heads), daemon=True).start()


def _serve(client: socket.socket, target: str, heads: list[str]) -> None:
    """Tunnel after CONNECT; pass anything else on as it came (servers take the absolute form)."""
    host, _, port = target.rpartition(":")
    with client, suppress(OSError), socket.create_connection((host, int(port))) as server:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := client.recv(65536)):
                return
            head += piece
        heads.append(head.partition(b"\r\n\r\n")[0].decode("latin-1"))
        if head.startswith(b"CONNECT"):
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            server.sendall(head)
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


AUTHORIZATION = "proxy-authorization: basic " + base64.b64encode(b"me:p@ss").decode().lower()


def test_a_tunnel_to_tls(world: World, tmp_path: Path, language: str) -> None:
    """HTTPS_PROXY: CONNECT with the proxy's credentials, and TLS from end to end with certificates."""
    port = world.server.http.rpartition(":")[2]
    with proxy(world.server.http) as (url, heads):
        said = run(
            language,
            tmp_path,
            f"https://{HOST}:{port}",
            HTTPS_PROXY=url,
            OTEL_SERVICE_NAME=f"tunnel-{language}",
            OTEL_INGEST_CLIENT_EXIT_S="5",
            **world.certificates(world.client),
        )
    assert stored(world.server, f"tunnel-{language}") == 1, said
    assert heads
    assert all(h.startswith(f"CONNECT {HOST}:{port} ") and AUTHORIZATION in h.lower() for h in heads)


def test_a_proxy_for_plain_http_and_none_for_this_machine(tmp_path: Path, language: str) -> None:
    """HTTP_PROXY: requests in the absolute form; what is on the loopback is reached without it."""
    with recording.sink() as sink, proxy(f"127.0.0.1:{sink.port}") as (url, heads):
        run(language, tmp_path, f"http://{HOST}:{sink.port}", HTTP_PROXY=url, http_proxy=url)
        run(language, tmp_path, sink.endpoint, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
        paths = {post.path for post in sink.posts}
    assert paths == {f"http://{HOST}:{sink.port}/v1/logs", "/v1/logs"}
    assert all(h.startswith(f"POST http://{HOST}:{sink.port}/v1/") and AUTHORIZATION in h.lower() for h in heads)


@pytest.mark.usefixtures("node_package")
def test_json_becomes_the_protobuf_that_it_would_have_been() -> None:
    """Of each signal, with every kind of value: as OpenTelemetry's own serializers make them."""
    done = subprocess.run(
        ["node", str(PACKAGE / "test" / "help" / "convert.js")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kinds = {
        "logs": ExportLogsServiceRequest,
        "traces": ExportTraceServiceRequest,
        "metrics": ExportMetricsServiceRequest,
    }
    for name, (converted, own) in json.loads(done.stdout).items():
        request = kinds[name].FromString(bytes.fromhex(own))
        assert kinds[name].FromString(bytes.fromhex(converted)) == request
        assert request.ByteSize() > 200


@pytest.mark.usefixtures("node_package")
def test_what_waits_as_json_is_sent_over_grpc(world: World, tmp_path: Path) -> None:
    """A Node process that spoke JSON leaves its last record and metrics on disk; the next one speaks gRPC."""
    standard = {"OTEL_SERVICE_NAME": "changed", "OTEL_METRICS_EXPORTER": "otlp"}
    run("node", tmp_path, "http://127.0.0.1:9", OTEL_EXPORTER_OTLP_PROTOCOL="http/json", **standard)
    waiting = [p.suffix for p in tmp_path.rglob("*") if p.is_file()]
    assert set(waiting) == {".json"}
    for _ in range(3):
        grpc = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_INGEST_CLIENT_EXIT_S": "5",
            **world.certificates(world.client),
        }
        run("node", tmp_path, f"https://{world.server.grpc}", **grpc, **standard)
        if not (left := [p for p in tmp_path.rglob("*") if p.is_file()]):
            break
    assert not left
    assert stored(world.server, "changed") >= 2
