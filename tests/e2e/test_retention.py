"""Retention as its user meets it: `up` lets an old day go by itself; the commands plan, refuse, ask and do."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from storage.partitions import partition_name
from tests import harness
from tests.factories import log_record, logs_request

DAY_NS = 86_400 * 10**9


def command(server: harness.Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `otel-ingest partitions` on the server's store."""
    whole = [sys.executable, "-m", "otel_ingest", "partitions", *arguments]
    environment = harness.clean_environment(OTEL_INGEST_DATA_DIR=str(server.data_dir))
    return subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=60, check=False)


def old_day(server: harness.Server, age_days: int) -> str:
    """Store a record of an old day, in a partition as if made then; return its name."""
    at = time.time_ns() - age_days * DAY_NS
    body = logs_request([log_record(time_unix_nano=at)]).SerializeToString()
    assert server.post("/v1/logs", body, "application/x-protobuf")[0] == 200
    name = partition_name("log_records", at // DAY_NS)
    with server.sql() as cursor:
        cursor.execute(f"COMMENT ON TABLE {name} IS 'otel-ingest made=0'".encode())
    return name


def names(server: harness.Server) -> set[str]:
    """Return the partitions that are there."""
    with server.sql() as cursor:
        found: list[Any] = cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits").fetchall()
    return {name for (name,) in found}


def test_up_lets_an_old_day_go(tmp_path: Path) -> None:
    """Nothing but the server: forty days old is gone with the next upkeep, twenty days old stays."""
    with harness.running(tmp_path / "data", OTEL_INGEST_UPKEEP_INTERVAL_S="1") as server:
        kept, gone = old_day(server, 20), old_day(server, 40)

        harness.wait_until(lambda: gone not in names(server), 60)
        assert kept in names(server)


def test_the_commands_plan_refuse_and_do(tmp_path: Path) -> None:
    """Plan prints steps and reasons and changes nothing; a rule that takes records needs --yes; apply does it."""
    with harness.running(tmp_path / "data") as server:
        gone, later = old_day(server, 40), old_day(server, 20)
        planned = [json.loads(line) for line in command(server, "plan", "--json").stdout.splitlines()]
        indexed = ("index", later)  # by attributes, and by trigrams of its text
        assert [(s["step"], s["partition"]) for s in planned] == [("drop", gone), indexed, indexed]
        assert "30d" in planned[0]["reason"]
        assert {gone, later} <= names(server)

        rule = ("retention", "set", "logs", "7d", "--reason", "disk")
        asked = command(server, *rule)
        assert asked.returncode == 1
        assert later in asked.stdout
        assert "--yes" in asked.stderr
        assert command(server, *rule, "--yes").returncode == 0
        assert command(server, "retention", "set", "logs", "soon", "--reason", "disk").returncode == 2

        done = command(server, "apply", "--json")
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["partition"] for line in done.stdout.splitlines()] == [gone, later]
        assert not {gone, later} & names(server)
        assert command(server, "plan").stdout == "none\n"
