"""The demo as a user runs it: real services, instrumented by their environment alone."""

import subprocess
import sys
from pathlib import Path

from tests import harness


def test_demo_prints_one_whole_trace(tmp_path: Path) -> None:
    """Three services, one error, one slow query: one tree with the log records of all of them."""
    with harness.running(tmp_path / "data") as server:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "otel_ingest", "demo", "--data-dir", str(server.data_dir)),
                *("--http-endpoint", server.http, "--query-endpoint", server.query),
            ],
            env=harness.clean_environment(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        server.assert_balanced()

    assert result.returncode == 0, result.stdout + result.stderr
    for part in ("shop POST", "payments POST", "worker POST", "CardDeclinedError", "without an index", "3 components"):
        assert part in result.stdout
