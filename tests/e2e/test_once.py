"""Seen by a user: the same curl twice, a rejected record looked at afterwards."""

import json
import subprocess
import sys
from pathlib import Path

from tests import harness
from tests.factories import log_record, logs_request


def command(server: harness.Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run otel-ingest against the data directory of a running server."""
    environment = harness.clean_environment(OTEL_INGEST_DATA_DIR=str(server.data_dir))
    line = [sys.executable, "-m", "otel_ingest", *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_same_request_twice_and_a_bad_record(tmp_path: Path) -> None:
    """One server, both stories: the warning and its counters; the rejected record listed and shown."""
    with harness.running(tmp_path / "data") as server:
        assert command(server, "rejected").stdout == "none\n"
        body = logs_request([log_record(), log_record()], service="twice").SerializeToString()
        protobuf = "application/x-protobuf"
        assert server.post("/v1/logs", body, protobuf) == (200, b"")
        status, answer = server.post("/v1/logs", body, protobuf)
        assert status == 200
        assert b"same request as" in answer
        assert b"stored once" in answer
        for _ in range(2):
            named = server.post("/v1/logs", body, protobuf, x_otel_ingest_batch_id="batch 1")
        assert b"stored once" in named[1]
        other = logs_request([log_record()], service="twice").SerializeToString()
        status, answer = server.post("/v1/logs", other, protobuf, x_otel_ingest_batch_id="batch 1")
        assert status == 200
        assert b"x-otel-ingest-batch-id was used" in answer
        status, answer = server.post("/v1/logs", body, protobuf, x_otel_ingest_batch_id="x" * 257)
        assert status == 400
        assert server.ledger()["logs"] == {
            "received": 9, "stored": 4, "rejected": 1, "refused": 0, "duplicate": 4, **_others(server)
        }  # fmt: skip

        record = {"body": {"stringValue": "bad"}, "traceId": "xyz"}
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
        document = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
        assert server.post("/v1/logs", json.dumps(document).encode())[0] == 200

        listed = command(server, "rejected", "--json").stdout.splitlines()
        newest, reused = (json.loads(line) for line in listed)
        assert (newest["component"], newest["position"], newest["media_type"]) == ("shop", 0, "application/json")
        assert "x-otel-ingest-batch-id" in reused["reason"]
        shown = command(server, "rejected", str(newest["id"]))
        assert '"traceId":"xyz"' in shown.stdout
        assert "logs #0 of shop" in shown.stdout
        assert "hello" in command(server, "rejected", str(reused["id"])).stdout
        assert command(server, "rejected", "999").returncode == 1
        assert "2 records rejected in the last 24 h" in command(server, "status").stdout


def _others(server: harness.Server) -> dict[str, int]:
    """Return the books that have nothing to do with this test."""
    known = {"received", "stored", "rejected", "refused", "duplicate"}
    return {name: value for name, value in server.ledger()["logs"].items() if name not in known}
