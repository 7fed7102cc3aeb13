"""Short runs of `make chaos` and `make killpoints` with fixed seeds; what they print is the message of a failure."""

import subprocess
import sys

import pytest

from tests import harness


def run(module: str, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program of this directory to its end; past ``timeout_s`` it is ended, and it tidies up."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(
        command, env=harness.clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate(timeout=60)
        output += f"\nit took more than {timeout_s:.0f} s"
    return subprocess.CompletedProcess(command, process.returncode, output)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_minute_of_faults() -> None:
    """Every kind of fault at least once: nothing acknowledged is lost, nothing is doubled or invented."""
    result = run("tests.chaos", "--seed", "7", "--seconds", "60", timeout_s=300)

    assert result.returncode == 0, result.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_some_kill_points() -> None:
    """Twelve kills at exact points: each record is there once."""
    result = run("tests.chaos.killpoints", "--seed", "5", "--points", "12", timeout_s=200)

    assert result.returncode == 0, result.stdout
