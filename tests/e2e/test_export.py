"""otel-ingest export as a user runs it: files in every format, and the way into another receiver."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from otel_ingest.signals import SIGNALS, Signal
from tests import harness
from tests.equality import records_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "otlp"
SENT = {"logs": "logs.json", "traces": "trace.json", "metrics": "metrics.json"}


def run(server: harness.Server, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command on a server's store."""
    return subprocess.run(
        [sys.executable, "-m", "otel_ingest", "export", "--data-dir", str(server.data_dir), *arguments],
        env=harness.clean_environment(**environment),
        capture_output=True,
        timeout=120,
        check=False,
    )


def requests_in(path: Path, signal: Signal) -> Any:
    """Return all of an otlp file as one request."""
    found, data, position = signal.request_type(), path.read_bytes(), 0
    while position < len(data):
        (size,) = struct.unpack_from("!I", data, position)
        found.MergeFromString(data[position + 4 : position + 4 + size])
        position += 4 + size
    return found


def exported(server: harness.Server, directory: Path) -> dict[str, Any]:
    """Return what a server holds, by signal."""
    done = run(server, "--format", "otlp", "--output", str(directory))
    assert done.returncode == 0, done.stderr
    return {s.name: records_of(requests_in(directory / f"{s.name}.otlp", s)) for s in SIGNALS}


@pytest.fixture
def filled(tmp_path: Path) -> Any:
    """Yield a server that holds the specification's examples, at times of today."""
    with harness.running(tmp_path / "data") as server:
        for signal, name in SENT.items():
            assert server.post(f"/v1/{signal}", (EXAMPLES / name).read_bytes())[0] == 200
        yield server


def test_every_format_holds_every_record(filled: harness.Server, tmp_path: Path) -> None:
    """Otlp and otlp-json say the same; jsonl and parquet have a record each; files are nobody else's to read."""
    binary = exported(filled, tmp_path / "otlp")
    as_json = run(filled, "--format", "otlp-json")
    flat = run(filled, "--format", "jsonl", "--signal", "traces")
    columns = run(filled, "--format", "parquet", "--output", str(tmp_path / "parquet"))

    assert all(binary.values())
    assert (tmp_path / "otlp" / "logs.otlp").stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert sorted(key for line in lines for key in line) == ["resourceLogs", "resourceMetrics", "resourceSpans"]
    (span,) = [json.loads(line) for line in flat.stdout.splitlines()]
    assert span["trace_id"] == "5b8efff798038103d269b633813fc60c"
    assert columns.returncode == 0, columns.stderr
    table = pq.read_table(tmp_path / "parquet" / "logs.parquet")
    assert table.num_rows == sum(binary["logs"].values())
    assert b"exported" in as_json.stderr


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_another_receiver_holds_the_same_after_it(filled: harness.Server, tmp_path: Path, transport: str) -> None:
    """--to over both transports, with a token: what comes out of the second store equals the first."""
    with harness.running(tmp_path / "second", OTEL_INGEST_INGEST_TOKEN_REQUIRED="true") as second:
        endpoint = f"http://{second.http}" if transport == "http" else f"grpc://{second.grpc}"
        headers = f"Authorization=Bearer {second.token('admin')}"
        refused = run(filled, "--to", endpoint)
        done = run(filled, "--to", endpoint, OTEL_INGEST_EXPORT_HEADERS=headers)

        assert refused.returncode == 1
        assert b"refused it" in refused.stderr
        assert done.returncode == 0, done.stderr
        assert exported(second, tmp_path / "b") == exported(filled, tmp_path / "a")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "csv"], b"one of otlp, otlp-json, jsonl, parquet"),
        (["--signal", "log"], b"one of logs, traces, metrics"),
        (["--to", "http://x:1", "--output", "y"], b"exclude each other"),
        (["--format", "parquet"], b"name a file or directory"),
        (["--trace", "12"], b"32 hexadecimal digits"),
        (["--since", "yesterday"], b"is no time"),
    ],
)
def test_a_wrong_argument_is_a_sentence(tmp_path: Path, arguments: list[str], says: bytes) -> None:
    """Exit 2, and what would be right."""
    done = subprocess.run(
        [sys.executable, "-m", "otel_ingest", "export", "--data-dir", str(tmp_path), *arguments],
        env=harness.clean_environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert says in done.stderr
