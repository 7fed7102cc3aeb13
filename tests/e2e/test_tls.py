"""Mutual TLS on all three listeners, with the clients that people have: stock SDK exporters, grpc, urllib, the demo."""

import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from tests import harness
from tests.certificates import Authority, Files
from tests.e2e.test_up import log_request
from tests.factories import log_record, logs_request

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
REQUEST = logs_request([log_record()]).SerializeToString()


class World:
    """A running server with mutual TLS for exports and TLS for the query side, and who may talk to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.servers = Authority(directory / "servers")
        self.clients = Authority(directory / "clients")
        self.pair = self.servers.issue("tls")
        self.client = self.clients.issue("client")
        self.context = self.context_with(self.client)
        self.environment = {
            "OTEL_INGEST_TLS_CERT_FILE": str(self.pair.cert),
            "OTEL_INGEST_TLS_KEY_FILE": str(self.pair.key),
            "OTEL_INGEST_TLS_CLIENT_CA_FILE": str(self.clients.ca_file),
            "OTEL_INGEST_QUERY_TLS_CLIENT_CA_FILE": "none",
            "OTEL_INGEST_TLS_CA_FILE": str(self.servers.ca_file),
            "OTEL_INGEST_TLS_RELOAD_INTERVAL_S": "0.1",
        }

    def context_with(self, client: Files | None) -> ssl.SSLContext:
        """Return a client's context that trusts the server's CA."""
        context = ssl.create_default_context(cafile=self.servers.ca_file)
        if client is not None:
            context.load_cert_chain(client.cert, client.key)
        return context

    def credentials(self, client: Files | None) -> grpc.ChannelCredentials:
        """Return the same for a gRPC channel."""
        key, cert = (client.key.read_bytes(), client.cert.read_bytes()) if client else (None, None)
        return grpc.ssl_channel_credentials(self.servers.ca_file.read_bytes(), key, cert)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return certificates for this module."""
    return World(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[harness.Server]:
    """Run a server with them."""
    with harness.running(world.directory / "data", tls=world.context, **world.environment) as server:
        yield server


def post(server: harness.Server, context: ssl.SSLContext) -> int:
    """POST a log record over TLS; return the status."""
    request = urllib.request.Request(f"https://{server.http}/v1/logs", log_request("over TLS"), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
        return int(answer.status)


def export(channel: grpc.Channel) -> bytes:
    """Export over gRPC on a channel; return the answer."""
    return bytes(channel.unary_unary(EXPORT)(REQUEST, timeout=10))


def serial(server: harness.Server, world: World) -> str:
    """Return the serial number of the certificate that OTLP/HTTP shows."""
    import socket

    host, _, port = server.http.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as raw,
        world.context.wrap_socket(raw, server_hostname="localhost") as sock,
    ):
        return str(sock.getpeercert()["serialNumber"])


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_stock_exporters_with_certificates(
    world: World, server: harness.Server, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the SDK's exporters send over mutual TLS is stored and read back over TLS."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # requests prefers them to what the exporter was given
    if transport == "grpc":
        exporter = GrpcExporter(f"https://{server.grpc}", credentials=world.credentials(world.client), timeout=10)
    else:
        exporter = HttpExporter(
            f"https://{server.http}/v1/logs",
            certificate_file=str(world.servers.ca_file),
            client_certificate_file=str(world.client.cert),
            client_key_file=str(world.client.key),
            timeout=10,
        )
    results = []
    inner = exporter.export
    exporter.export = lambda batch: results.append(inner(batch)) or results[-1]
    provider = LoggerProvider(Resource({"service.name": f"sdk-{transport}"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("test").emit(body=f"by the {transport} exporter", timestamp=time.time_ns())
    provider.shutdown()

    assert results == [LogRecordExportResult.SUCCESS]
    assert f"by the {transport} exporter".encode() in server.get(f"/api/v1/logs?component=sdk-{transport}")


def test_clients_that_are_not_known_are_refused(world: World, server: harness.Server) -> None:
    """No certificate, one of another CA, an expired one: no export on either transport. The query side asks none."""
    strangers = Authority(world.directory / "strangers")
    for client in (None, strangers.issue("stranger"), world.clients.issue("old", expired=True)):
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            post(server, world.context_with(client))
        with (
            grpc.secure_channel(server.grpc, world.credentials(client)) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            export(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with urllib.request.urlopen(
        f"https://{server.query}/healthz", timeout=10, context=world.context_with(None)
    ) as answer:
        assert answer.status == 200


def test_a_server_that_is_not_trusted_is_refused_by_the_client(world: World, server: harness.Server) -> None:
    """A client that knows another CA does not send anything."""
    other = Authority(world.directory / "other")

    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        post(server, ssl.create_default_context(cafile=other.ca_file))


def test_plaintext_gets_a_sentence(server: harness.Server) -> None:
    """http:// to a port of TLS: 400 with what to do; plaintext gRPC: UNAVAILABLE, as gRPC has no words before TLS."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://{server.http}/v1/logs", timeout=10)
    with caught.value as error:
        assert error.code == 400
        assert b"https" in error.read()
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        export(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_certificates_change_while_it_runs(world: World, server: harness.Server) -> None:
    """New files are used on both transports; the open gRPC channel goes on; broken ones are said."""
    before = serial(server, world)
    with grpc.secure_channel(server.grpc, world.credentials(world.client)) as channel:
        export(channel)
        fresh = world.servers.issue("fresh")
        for new, old in ((fresh.cert, world.pair.cert), (fresh.key, world.pair.key)):
            new.replace(old)
        harness.wait_until(lambda: serial(server, world) != before)
        export(channel)
    with grpc.secure_channel(server.grpc, world.credentials(world.client)) as channel:
        export(channel)

    now = serial(server, world)
    world.pair.key.write_text("not a key")
    harness.wait_until(lambda: "the former ones stay" in server.stderr_path.read_text())
    assert serial(server, world) == now
    assert 'otel_ingest_tls_certificate_not_after_seconds{listener="http"}' in server.metrics()


def test_what_it_prints_and_its_health_follow(world: World, server: harness.Server) -> None:
    """https:// in the ready object; the container's health check works without any certificate of its own."""
    environment = world.environment | {"OTEL_INGEST_QUERY_ENDPOINT": server.query}
    result = subprocess.run(
        [sys.executable, "-m", "otel_ingest.healthcheck"],
        env=harness.clean_environment(**environment), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert server.schemes == {"grpc": "https", "http": "https", "query": "https"}
    assert (result.returncode, result.stderr) == (0, "")


def test_a_wrong_file_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    """Exit 1, the file is named, no traceback, and no PostgreSQL was started for it."""
    result = subprocess.run(
        [sys.executable, "-m", "otel_ingest", "up", "--data-dir", str(tmp_path / "data"),
         "--tls-cert-file", "absent.pem", "--tls-key-file", "absent.key"],
        env=harness.clean_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert result.returncode == 1
    assert "cannot read absent.pem" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_the_demo_over_mutual_tls(tmp_path: Path) -> None:
    """Services instrumented by their environment alone export over mutual TLS, and the trace comes back over TLS."""
    world = World(tmp_path)
    with harness.running(tmp_path / "data", tls=world.context, **world.environment) as server:
        port = {side: getattr(server, side).rpartition(":")[2] for side in ("http", "query")}
        result = subprocess.run(
            [sys.executable, "-m", "otel_ingest", "demo", "--data-dir", str(tmp_path / "data"),
             "--http-endpoint", f"localhost:{port['http']}", "--query-endpoint", f"localhost:{port['query']}",
             "--client-cert-file", str(world.client.cert), "--client-key-file", str(world.client.key)],
            env=harness.clean_environment(**world.environment),
            capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        assert "payments" in result.stdout
        assert json.loads(server.get("/api/v1/overview"))["components"]
