"""The stock SDK exporters from four processes: every record sent is stored once."""

import subprocess
import sys

from tests import harness


def test_counts_equal_what_was_sent() -> None:
    """A small run of ``make volume``: counts equal, samples readable at once, the ledger balances."""
    command = [sys.executable, "-m", "benchmarks.volume", "--logs", "20000", "--spans", "4000"]
    result = subprocess.run(
        command, env=harness.clean_environment(), capture_output=True, text=True, timeout=110, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr
