"""How long the start of the embedded PostgreSQL is waited for."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from storage import embedded
from storage.embedded_account import Cluster
from storage.errors import RetryableStoreError

RECOVERY = "LOG:  database system was not properly shut down; automatic recovery in progress"


@pytest.mark.parametrize(("said", "told"), [(RECOVERY, 1), ("LOG:  something else", 0)])
async def test_a_recovery_is_told_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: int
) -> None:
    """Stopped in the middle, recovery would begin anew the next time: past the time of any other start it goes on."""
    monkeypatch.setattr(embedded, "_START_TIMEOUT_S", 0.05)
    monkeypatch.setattr(embedded, "_TOLD_AFTER_S", 0.0)
    monkeypatch.setattr(embedded, "_RECOVERY_TIMEOUT_S", 0.3)
    (tmp_path / "pgdata").mkdir()
    (tmp_path / "postgres.log").write_text(said)
    cluster = Cluster(tmp_path / "pgdata", tmp_path / "password", tmp_path, "18", None)
    with capture_logs() as logs, pytest.raises(RetryableStoreError, match=said[-20:]):
        await embedded._wait_ready(cluster, None)

    assert len(logs) == told
