"""The documents say what the code does."""

from pathlib import Path

from docs.generate import settings_page
from otel_ingest import answers, errors

ROOT = Path(__file__).resolve().parent.parent.parent


def test_settings_page_is_current() -> None:
    """docs/settings.md is what ``python -m docs.generate`` writes."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()


def test_every_error_has_an_answer() -> None:
    """Each error that can be raised stands in the one table; what is transient says when to come back."""
    leaves = [e for base in (errors.RequestError, errors.TransientError) for e in base.__subclasses__()]

    assert set(leaves) == set(answers.TABLE)
    assert all((answers.TABLE[e].retry_s is not None) == issubclass(e, errors.TransientError) for e in leaves)
