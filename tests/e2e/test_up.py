"""`otel-ingest up` as a user runs it: real processes, real PostgreSQL."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import harness

LOG = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeLogs": [{"logRecords": [{"severityNumber": 9, "body": {"stringValue": "order placed"}}]}],
        }
    ]
}


def log_request(body: str) -> bytes:
    """Return an OTLP/JSON request with one log record of component shop, now."""
    request = json.loads(json.dumps(LOG))
    record = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    record["timeUnixNano"] = str(time.time_ns())
    record["body"]["stringValue"] = body
    return json.dumps(request).encode()


def test_second_start_keeps_the_data(tmp_path: Path) -> None:
    """What was acknowledged before SIGTERM is readable after the next start; the exit code is 0."""
    data_dir = tmp_path / "data"
    with harness.running(data_dir) as server:
        assert server.post("/v1/logs", log_request("kept over a restart")) == (200, b"{}")
        server.assert_balanced()
        token = server.token()
    assert server.process.returncode == 0

    with harness.running(data_dir) as server:
        answer = json.loads(server.get("/api/v1/logs?component=shop"))
        assert "kept over a restart" in json.dumps(answer)
        assert server.token() == token


def test_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """Kill -9 right after the answer loses nothing; the next start takes over the orphaned PostgreSQL."""
    data_dir = tmp_path / "data"
    server = harness.start(data_dir)
    assert server.post("/v1/logs", log_request("acknowledged, then killed"))[0] == 200
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(20)
    assert server.process.stdout is not None
    server.process.stdout.close()

    with harness.running(data_dir) as server:
        assert b"acknowledged, then killed" in server.get("/api/v1/logs?component=shop")


def test_ctrl_c_stops_postgresql_too(tmp_path: Path) -> None:
    """After SIGINT the process ends with 0 and PostgreSQL's pid file is gone."""
    server = harness.start(tmp_path / "data")

    assert server.stop(signal.SIGINT) == 0
    assert server.process.stdout is not None
    server.process.stdout.close()
    assert not list((tmp_path / "data").rglob("postmaster.pid"))


def test_it_never_exports_to_itself(tmp_path: Path) -> None:
    """OTEL_* variables and opentelemetry-instrument around the server change nothing in it."""
    data_dir = tmp_path / "data"
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_SERVICE_NAME": "otel-ingest-itself",
        "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider",
    }
    with harness.running(data_dir, **environment) as server:
        server.post("/v1/logs", log_request("from outside"))
        status = Path(f"/proc/{server.process.pid}/environ").read_bytes().decode()
        names = {entry.split("=")[0] for entry in status.split("\0") if entry}

        assert not {n for n in names if n.startswith("OTEL_") and not n.startswith("OTEL_INGEST_")}
        assert b"otel-ingest-itself" not in server.get("/api/v1/overview")


def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    """A port in use ends the start with the setting to change, and no traceback."""
    with harness.running(tmp_path / "data") as server:
        result = subprocess.run(
            [sys.executable, "-m", "otel_ingest", "up", "--data-dir", str(tmp_path / "other"),
             "--http-endpoint", server.http, "--grpc-endpoint", "127.0.0.1:0", "--query-endpoint", "127.0.0.1:0"],
            env=harness.clean_environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert result.returncode == 1
    assert "--http-endpoint" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--http-endpoint", "4318"], "host:port"),
        (["--http-endpoint", "0.0.0.0:0"], "--insecure"),
    ],
)
def test_wrong_settings_are_said(arguments: list[str], expected: str, tmp_path: Path) -> None:
    """A wrong endpoint ends the start with 2 and what would be right."""
    result = subprocess.run(
        [sys.executable, "-m", "otel_ingest", "up", "--data-dir", str(tmp_path), *arguments],
        env=harness.clean_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert result.returncode == 2
    assert expected in result.stderr
