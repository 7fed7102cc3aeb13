"""Whether SQL is offered: off by default; where it is on without what it needs, a sentence at the start."""

import pytest

from otel_ingest.cli import access
from otel_ingest.cli.access import Access
from otel_ingest.config import Settings
from storage.errors import PermanentStoreError

OWNER = "postgresql://owner@db/x"


def test_it_is_off_by_default() -> None:
    """Also where there would be a login for it."""
    assert Access(OWNER, OWNER, OWNER, sql="postgresql://otel_ingest_sql@db/x").asking(Settings()) is None


def test_it_needs_a_login_of_its_own() -> None:
    """The owner's is never used for it."""
    with pytest.raises(PermanentStoreError, match="needs OTEL_INGEST_DATABASE_SQL_URL"):
        Access(OWNER, OWNER, OWNER).asking(Settings(sql_tool=True))


def test_it_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at the start, not at the first call."""
    monkeypatch.setattr(access, "find_spec", lambda _: None)
    with pytest.raises(PermanentStoreError, match=r"otel-ingest\[sql\]"):
        Access(OWNER, OWNER, OWNER, sql=OWNER).asking(Settings(sql_tool=True))
