"""``tail -f``: what arrives is printed once, however much the store holds already."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools import commands
from storage.filters import LogQuery
from storage.reader import Reader
from storage.reading.tail import ReadAs, Record, TailPage, TailPlace
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us


async def test_following_prints_what_arrives_once(engine: AsyncEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 1,500 known records the latest ten are printed, then the new one, once."""
    now = now_us()
    old = [log_row(time=now - 1_000_000 + i, body=f"old {i}") for i in range(1_500)]
    await PostgresSink(engine).write([batch_of(old)])
    following = asyncio.Event()

    class Watched(Reader):
        async def tail_look(self, query: LogQuery, place: TailPlace, read: ReadAs[Record]) -> TailPage[Record]:
            page = await super().tail_look(query, place, read)
            following.set()
            return page

    @contextlib.asynccontextmanager
    async def open_reader() -> AsyncIterator[Reader]:
        yield Watched(engine)

    printed = ""
    task = asyncio.create_task(commands._tail(open_reader, {"limit": 10}, follow=True, as_json=False))
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
