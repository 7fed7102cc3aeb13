"""The distribution without its extras: every command is there, nothing of the extras is imported."""

import subprocess
import sys

from tests.harness import clean_environment

# What only extras and tests install. requests comes along with the OpAMP messages.
_EXTRAS = (
    "grpc", "pyarrow", "pgparse", "fastapi", "flask", "opentelemetry.sdk", "opentelemetry.instrumentation", "pytest",
)  # fmt: skip
_PROGRAM = f"""
import sys
for name in {_EXTRAS!r}:
    sys.modules[name] = None
from typer.testing import CliRunner
from otel_ingest.cli import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0, result.output
print(result.output)
"""


def test_the_commands_need_no_extra() -> None:
    """What an installation without extras can do is everything but gRPC and Parquet of export, SQL, and the demo."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "export" in done.stdout
