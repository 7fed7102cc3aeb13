"""What waits in a spool stands in logger_overview."""

from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from storage.reader import Reader
from storage.views import Spooled


async def test_the_overview_says_what_is_not_stored_yet(engine: AsyncEngine) -> None:
    """One line for people and agents, the figures for programs; nothing where there is nothing to say."""
    waiting = Spooled(42, 21_504, 9_000_000, 0, 38.4, "draining")
    empty = Spooled(0, 0, 0, 0, 0.0, "draining")

    busy = await call(Reader(engine, lambda: waiting), "read", "logger_overview", {})
    calm = await call(Reader(engine, lambda: empty), "read", "logger_overview", {})

    assert "spool: 42 requests, 21,504 records, oldest 38 s, draining" in busy.text
    assert busy.data["spool"]["records"] == 21_504
    assert "spool" not in calm.text
    assert calm.data["spool"]["requests"] == 0
