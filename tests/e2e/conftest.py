"""What several end-to-end tests need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.own_postgres import OwnPostgres


@pytest.fixture
def postgres_of_own(tmp_path: Path) -> Iterator[OwnPostgres]:
    """Yield a PostgreSQL that the test may stop and freeze."""
    (tmp_path / "pg").mkdir()
    tmp_path.chmod(0o711)
    database = OwnPostgres(tmp_path / "pg")
    yield database
    database.close()
