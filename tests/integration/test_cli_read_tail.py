"""``tail -f``: what arrives is printed once, however much the store holds already."""

import asyncio
import contextlib

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools import commands
from storage.filters import LogQuery
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us


async def test_following_gets_past_what_is_known(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With more known records than a page holds, a new one still comes, once, and none of the old ones."""
    monkeypatch.setattr(commands, "POLL_S", 0.01)
    now = now_us()
    old = [log_row(time=now - 1_000_000 + i, body=f"old {i}") for i in range(1_500)]
    await PostgresSink(engine).write([batch_of(old)])
    following = asyncio.Event()
    polls = 0

    class Watched(Reader):
        async def tail_logs(self, query: LogQuery, after_id: int) -> list[object]:  # type: ignore[override]
            nonlocal polls
            polls += 1
            if polls == 4:  # what was there is known by then
                following.set()
            return list(await super().tail_logs(query, after_id))

    @contextlib.asynccontextmanager
    async def open_reader():  # type: ignore[no-untyped-def]  # noqa: ANN202
        yield Watched(engine)

    printed = ""
    task = asyncio.create_task(commands._tail(open_reader, LogQuery(limit=10), follow=True, as_json=False))
    try:
        await asyncio.wait_for(following.wait(), 20)
        await PostgresSink(engine).write([batch_of([log_row(body="fresh one")])])
        async with asyncio.timeout(20):
            while "fresh one" not in printed:
                await asyncio.sleep(0.01)
                printed += capsys.readouterr().out
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    printed += capsys.readouterr().out

    assert printed.count("fresh one") == 1
    assert printed.count("old ") == 10
