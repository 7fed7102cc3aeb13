"""The documents say what the code does."""

from pathlib import Path

from docs.generate import settings_page, tools_page
from mcp_tools.server import _listed
from mcp_tools.tools import TOOLS
from otel_ingest import answers, errors

ROOT = Path(__file__).resolve().parent.parent.parent


def test_settings_page_is_current() -> None:
    """docs/settings.md is what ``python -m docs.generate`` writes."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()


def test_tools_page_is_current() -> None:
    """docs/tools.md is what ``python -m docs.generate`` writes."""
    assert (ROOT / "docs" / "tools.md").read_text() == tools_page()


def test_tools_are_told_briefly() -> None:
    """Agents pay for the list of tools in every session: 16 KB in all, 1 KB a description, 15 arguments a tool."""
    listed = [_listed(name, tool) for name, tool in TOOLS.items()]

    assert sum(len(t.model_dump_json(by_alias=True, exclude_none=True).encode()) for t in listed) <= 16 * 1024
    assert all(len((t.description or "").encode()) <= 1024 for t in listed)
    assert {t.name: n for t in listed if (n := len(t.input_schema["properties"])) > 15} == {}


def test_every_error_has_an_answer() -> None:
    """Each error that can be raised stands in the one table; what is transient says when to come back."""
    leaves = [e for base in (errors.RequestError, errors.TransientError) for e in base.__subclasses__()]

    assert set(leaves) == set(answers.TABLE)
    assert all((answers.TABLE[e].retry_s is not None) == issubclass(e, errors.TransientError) for e in leaves)
