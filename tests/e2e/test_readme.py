"""The README's commands do what it says."""

import re
import subprocess
from pathlib import Path

from tests import harness

README = Path(__file__).resolve().parent.parent.parent / "README.md"


def test_curl_example_is_stored_and_read_back(tmp_path: Path) -> None:
    """The block marked sh, with this test's ports and data directory in it."""
    with harness.running(tmp_path / "data") as server:
        block = re.search(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
        assert block is not None
        script = block[1].replace("127.0.0.1:4318", server.http).replace("127.0.0.1:4319", server.query)
        script = script.replace(".otel-ingest/tokens", str(server.data_dir / "tokens"))
        result = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stderr
    assert "hello from curl" in result.stdout
    assert "5b8efff798038103d269b633813fc60c" in result.stdout
