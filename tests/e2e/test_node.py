"""The Node distribution's own tests, where Node is: types and behaviour, by npm as its users have it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "instrumentation" / "node"


def npm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run npm in the package and return what it said."""
    clean = {k: v for k, v in os.environ.items() if k != "NODE_OPTIONS"}
    return subprocess.run(["npm", *arguments], cwd=PACKAGE, env=clean, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def node_package() -> Path:
    """Return the package with its dependencies installed; skip where there is no Node, or nothing to install from."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not here: the Node distribution is not tested")
    if not (PACKAGE / "node_modules" / "pino").exists():
        installed = npm("install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        if installed.returncode != 0:
            pytest.skip(f"npm install does not work here: {installed.stderr.strip()[-300:]}")
    return PACKAGE


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("node_package")
def test_node_distribution() -> None:
    """`npm test` in instrumentation/node passes."""
    result = npm("test")

    assert result.returncode == 0, (result.stdout + result.stderr)[-20_000:]
