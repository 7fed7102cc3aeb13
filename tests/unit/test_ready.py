"""What ``up`` prints follows the settings; names under which /mcp answers."""

from pathlib import Path

import pytest
from mcp.server.transport_security import TransportSecurityMiddleware

from mcp_tools.app import Doors
from otel_ingest.cli.ready import Ready
from otel_ingest.config import Settings

PAIR = {"tls_cert_file": "c.pem", "tls_key_file": "k.pem"}


def ready(settings: Settings, **given: object) -> Ready:
    """Return what a server with these settings prints from."""
    names = {"grpc": "box", "http": "box", "query": "box"}
    fields = {"grpc": "127.0.0.1:1", "http": "127.0.0.1:2", "query": "0.0.0.0:3", "read_token": "oti_read_x"}
    return Ready(settings, **fields, host_names=names, **given)


def test_plaintext_is_shown_as_ever() -> None:
    """host:port on the line; http:// where a URL is printed; a wildcard is shown by a name that can be used."""
    shown = ready(Settings())

    assert shown.line() == "ready grpc=127.0.0.1:1 http=127.0.0.1:2 query=0.0.0.0:3"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:2\n" in shown.next_steps()
    assert '"url": "http://box:3/mcp"' in shown.next_steps()
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in shown.next_steps()


def test_tls_is_said_with_what_clients_need() -> None:
    """https://, the CA, the client certificate, the token: as the exporters read them."""
    shown = ready(Settings(**PAIR, tls_ca_file="ca.pem", tls_client_ca_file="x", ingest_token_required=True))

    assert shown.line() == "ready grpc=https://127.0.0.1:1 http=https://127.0.0.1:2 query=https://0.0.0.0:3"
    steps = shown.next_steps()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:2\n" in steps
    assert f"OTEL_EXPORTER_OTLP_CERTIFICATE={Path('ca.pem').absolute()}\n" in steps
    assert "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" in steps
    assert "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20INGEST_TOKEN" in steps


def test_a_missing_ingest_token_is_said_with_its_command() -> None:
    """Exports need one and there is none: the command that makes it stands there; else nothing does."""
    open_door = Settings(http_endpoint="0.0.0.0:0", insecure=True)

    assert "token create --role ingest" in ready(open_door, ingest_token_exists=False).next_steps()
    assert "token create --role ingest" not in ready(open_door, ingest_token_exists=True).next_steps()
    assert "token create --role ingest" not in ready(Settings(), ingest_token_exists=False).next_steps()


def test_only_known_names_pass() -> None:
    """Loopback and listed names with any port; a name with a port is that one alone; strangers are refused."""
    doors = Doors(("receiver", "logs.example.com:8443", "fd00::7"), ("https://app.example.com",))
    check = TransportSecurityMiddleware(doors.settings("https://0.0.0.0:4319"))

    for host in ("127.0.0.1:4319", "localhost:1", "[::1]:4319", "receiver", "receiver:4319", "logs.example.com:8443",
                 "[fd00::7]:4319"):  # fmt: skip
        assert check._validate_host(host), host
    for host in ("evil.example", "receiver.evil.example:4319", "logs.example.com", "logs.example.com:1", None):
        assert not check._validate_host(host), host
    assert check._validate_origin("https://app.example.com")
    assert check._validate_origin("https://receiver:4319")
    assert not check._validate_origin("https://evil.example")
    assert not check._validate_origin("http://receiver:4319")


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a variable: names between commas."""
    monkeypatch.setenv("OTEL_INGEST_QUERY_ALLOWED_HOSTS", "receiver, logs.example.com")

    assert Settings().query_allowed_hosts == ("receiver", "logs.example.com")
