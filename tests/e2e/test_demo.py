"""The demo as a user runs it: real services, instrumented by their environment alone."""

import socket
import subprocess
import sys
from pathlib import Path

from tests import harness


def demo(data_dir: Path, http: str, query: str) -> "subprocess.CompletedProcess[str]":
    """Run `otel-ingest demo` towards a server."""
    program = [sys.executable, "-m", "otel_ingest", "demo", "--data-dir", str(data_dir)]
    return subprocess.run(
        [*program, "--http-endpoint", http, "--query-endpoint", query],
        env=harness.clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_demo_prints_one_whole_trace(tmp_path: Path) -> None:
    """Three services, one error, one slow query: one tree with the log records of all of them."""
    with harness.running(tmp_path / "data") as server:
        result = demo(server.data_dir, server.http, server.query)
        server.assert_balanced()

    assert result.returncode == 0, result.stdout + result.stderr
    for part in ("shop POST", "payments POST", "worker POST", "CardDeclinedError", "without an index", "3 components"):
        assert part in result.stdout


def test_demo_without_a_server_says_where_it_looked(tmp_path: Path) -> None:
    """One line, before any service is started."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "read").write_text("oti_read_x")
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{held.getsockname()[1]}"
        result = demo(tmp_path, nobody, nobody)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: no server answers at http://{nobody} (")
    assert len(result.stderr.splitlines()) == 1
