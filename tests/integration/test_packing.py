"""Packed records: found by every question with the same answers, exported as they came, deleted and dropped alike."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.config import StorageConfig
from storage.deletion import delete_rows
from storage.errors import QuestionTooLarge
from storage.filters import LogQuery
from storage.models import log_records
from storage.packing.connection import reading_connection
from storage.packing.packer import pack_partition, to_pack, unpack_partition
from storage.packing.removal import drop_blocks
from storage.packing.states import partition_states
from storage.partitions import list_partitions
from storage.reader import Reader
from storage.reading.tail import WHOLE
from tests.factories import log_row, now_us
from tests.stores import (
    BASE_US,
    DAY_US,
    NOT_OF_RECORDS,
    QUESTIONS,
    TABLES,
    all_logs,
    assert_same_answers,
    exported,
    many,
    stored,
)

EXAMPLES = int(os.environ.get("PACKING_EXAMPLES", "4"))
QUESTIONS_A_STORE = 12


async def pack(engine: AsyncEngine, chosen: Sequence[bool] = (True,) * 99) -> int:
    """Pack the partitions that are chosen; return how many records."""
    found = await to_pack(engine, datetime.now(UTC), TABLES)
    return sum([(await pack_partition(engine, p)).records for p, yes in zip(found, chosen, strict=False) if yes])


async def ids(engine: AsyncEngine, table: str) -> list[int]:
    """Return the ids of a table's rows."""
    async with engine.connect() as connection:
        return list((await connection.execute(text(f"SELECT id FROM {table} ORDER BY time, id"))).scalars())  # noqa: S608


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.timeout(max(120, 4 * EXAMPLES))
def test_every_question_has_the_same_answer(database_url: str) -> None:
    """Any store, any partitions of it packed, late records after that: as if nothing were packed."""

    async def move(engine: AsyncEngine, chosen: list[bool]) -> None:
        await pack(engine, chosen)

    assert_same_answers(StorageConfig(database_url), move, EXAMPLES, QUESTIONS_A_STORE)


def test_every_read_function_is_asked() -> None:
    """A read function that is new stands in tests/stores.py, or it is not known whether it finds packed records."""
    functions = {n for n in vars(Reader) if not n.startswith("_") and callable(getattr(Reader, n))}

    assert functions - NOT_OF_RECORDS == set(QUESTIONS)


async def test_what_is_packed_is_small_and_gone_from_the_rows(engine: AsyncEngine) -> None:
    """The rows' space is given back; the list of partitions tells what became of them; late records are rows again."""
    await stored(engine, {"log_records": many(3000)})
    (before,) = [p for p in await partition_states(engine, datetime.now(UTC)) if p.table == "log_records"]

    assert await pack(engine) == 3000
    await stored(engine, {"log_records": many(1)})
    (after,) = [p for p in await partition_states(engine, datetime.now(UTC)) if p.table == "log_records"]

    assert (before.state, after.state, after.packed_records) == ("closed", "packed", 3000)
    assert after.bytes < before.bytes / 5
    assert len(await ids(engine, "log_records")) == 1
    assert await pack(engine) == 1


async def test_nothing_recent_is_packed(engine: AsyncEngine) -> None:
    """A partition that ended less than six hours ago, or not at all, stays as it is whatever is asked for."""
    await stored(engine, {"log_records": [log_row()]})

    assert await pack(engine) == 0


async def test_first_rows_need_few_blocks_and_recent_ones_none(engine: AsyncEngine) -> None:
    """A page of the newest, a trace, one record: counted in blocks fetched. A recent window: not a word of blocks."""
    await stored(engine, {"log_records": many(12_000)})
    await pack(engine)
    reader = Reader(engine)
    fetched, statements = [], []

    def note(_c: Any, _cu: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append(statement)
        if "packed_blocks.data" in statement:
            fetched.append(len(parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)

    async def blocks(name: str, *arguments: Any) -> int:
        fetched.clear()
        statements.clear()
        assert await getattr(reader, name)(*arguments)
        return sum(fetched)

    assert await blocks("read_messages", LogQuery(limit=100)) <= 4
    assert await blocks("trace_outline", (5).to_bytes(16, "big").hex()) <= 4
    assert await blocks("get_log", 4711) <= 24
    assert await blocks("nearest_data", LogQuery(since_ns=(BASE_US + 2 * DAY_US) * 1000)) <= 1
    await blocks("find_logs", LogQuery(since_ns=(now_us() - 3_600_000_000) * 1000))
    assert not [s for s in statements if "packed" in s]


async def test_what_would_unpack_too_much_is_refused(engine: AsyncEngine) -> None:
    """An honest error, never a smaller answer; a narrower question is answered."""
    await stored(engine, {"log_records": many(3000)})
    await pack(engine)
    everything = select(func.sum(log_records.c.severity_number), func.min(log_records.c.body))

    async with reading_connection(engine, bytes_max=95_000) as connection:
        with pytest.raises(QuestionTooLarge, match="narrow the window"):
            await connection.execute(everything)
        narrow = everything.where(log_records.c.trace_id == UUID(int=5))
        assert (await connection.execute(narrow)).one().sum == sum(n % 20 + 1 for n in range(32, 40))


async def test_deleting_reaches_into_blocks(engine: AsyncEngine) -> None:
    """By component, by trace, within a limit: exactly the records that match go, the others stay as they were."""
    await stored(engine, {"log_records": many(3000)})
    await pack(engine)
    reader, table = Reader(engine), log_records.c
    counts = []
    for conditions, limit in (
        ([table.trace_id == UUID(int=5)], 50),
        ([table.component == "till", table.severity_number >= 17], 100),
        ([table.component == "till", table.severity_number >= 17], 50_000),
        ([table.component == "nobody"], 50),
    ):
        async with engine.begin() as connection:
            counts.append(await delete_rows(connection, log_records, conditions, limit))
    left = [e async for e in all_logs(reader)]

    gone = [n for n in range(3000) if n // 8 + 1 == 5 or (n % 3 == 1 and n % 20 + 1 >= 17)]
    assert counts == [8, 100, len(gone) - 108, 0]
    assert sorted(e.body or "" for e in left) == sorted(f"message {n}" for n in range(3000) if n not in gone)
    assert len({e.id for e in left}) == len(left)


async def test_packing_is_no_news_to_a_tail(engine: AsyncEngine) -> None:
    """Records keep the transaction they are of: what a tail has given is not given again for having been packed."""
    await stored(engine, {"log_records": many(600)})
    reader = Reader(engine)
    begun = await reader.tail_begin(LogQuery(limit=5), WHOLE)
    await pack(engine)
    await stored(engine, {"log_records": [log_row(body="new")]})

    assert [r.body for r in (await reader.tail_look(LogQuery(limit=50), begun.place, WHOLE)).records] == ["new"]


async def test_unpacked_is_as_it_was(engine: AsyncEngine) -> None:
    """Rows again, their ids with them, and nothing is packed any more; a period that is dropped is gone."""
    await stored(engine, {"log_records": many(2000, exact=b"\0\xff")})
    before = await exported(engine)
    await pack(engine)
    counts = [await unpack_partition(engine, p) for p in await list_partitions(engine)]

    assert sum(counts) == 2000
    assert await exported(engine) == before
    assert len(await ids(engine, "log_records")) == 2000
    await pack(engine)
    day = datetime.fromtimestamp(BASE_US / 1e6, UTC)
    async with engine.begin() as connection:
        assert await drop_blocks(connection, "log_records", day, day + timedelta(days=1)) == 2000
    assert await exported(engine) == []


async def test_readers_see_each_record_once_while_it_is_packed(engine: AsyncEngine) -> None:
    """Pages over all records, and their count, one after the other until packing is over: always all of them."""
    await stored(engine, {"log_records": many(20_000)})
    reader = Reader(engine)
    packing = asyncio.create_task(pack(engine))
    looks = 0
    while not packing.done() or looks < 3:
        (count,) = await reader.log_counts(LogQuery())
        newest = await reader.find_logs(LogQuery(limit=1000))
        assert count.count == 20_000
        assert len({e.id for e in newest.items}) == 1000
        looks += 1
    assert await packing == 20_000


@pytest.mark.slow
async def test_a_packer_that_is_killed_loses_nothing(database_url: str, engine: AsyncEngine) -> None:
    """SIGKILL at each of its statements and COMMITs: all records are there once, and it can go on."""
    await stored(engine, {"log_records": many(3_000)})
    whole = sorted([e.id async for e in all_logs(Reader(engine))])
    for moment, when in (
        ("DELETE FROM", "after"),
        ("INSERT INTO packed_blocks", "after"),
        ("COMMIT", "before"),
        ("COMMIT", "after"),
        ("VACUUM", "after"),
        ("TRUNCATE", "before"),
        ("TRUNCATE", "after"),
    ):
        code = await killed_packer(database_url, moment, when)
        assert code == -signal.SIGKILL
        assert sorted([e.id async for e in all_logs(Reader(engine))]) == whole
        for partition in await list_partitions(engine):
            await unpack_partition(engine, partition)

    await pack(engine)
    assert sorted([e.id async for e in all_logs(Reader(engine))]) == whole


async def killed_packer(url: str, moment: str, when: str) -> int | None:
    """Run the packer in a process that kills itself before or after its first statement of a kind."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.packer_victim", moment, when, env=os.environ | {"VICTIM_URL": url}
    )
    return await asyncio.wait_for(process.wait(), 60)
