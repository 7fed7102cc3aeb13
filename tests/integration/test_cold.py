"""Cold records: found by every question with the same answers, exported as they came, deleted and dropped alike."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import reader as reader_module
from storage.cold import location, reading
from storage.cold.conditions import Where
from storage.cold.freezing import Frozen
from storage.cold.reading import Rows
from storage.cold.upkeep import freeze, missing_files, thaw, to_freeze
from storage.config import StorageConfig
from storage.deletion import delete_rows, drop_detached
from storage.engine import write_engine
from storage.errors import PermanentStoreError, QuestionTooLarge, RetryableStoreError
from storage.filters import LogQuery
from storage.models import log_records
from storage.packing.arrays import packed_names
from storage.packing.connection import reading_connection
from storage.packing.packer import pack_partition, to_pack, unpack_partition
from storage.packing.states import partition_states
from storage.partitions import list_partitions
from storage.periods import Range
from storage.query.reading import parse
from storage.reader import Reader
from storage.reading import bounds
from tests.stores import (
    BASE_US,
    COMPONENTS,
    TABLES,
    all_logs,
    assert_same_answers,
    exported,
    many,
    stored,
)

EXAMPLES = int(os.environ.get("COLD_EXAMPLES", "3"))
QUESTIONS_A_STORE = 16
MEMORY = "memory://cold-tests"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return a location for cold files."""
    return str(tmp_path / "cold")


@pytest.fixture
async def cold_engine(database_url: str, url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine that knows where cold files are."""
    engine = write_engine(StorageConfig(database_url, cold_url=url))
    yield engine
    await engine.dispose()


async def chill(engine: AsyncEngine, url: str, chosen: Sequence[bool] = (True,) * 99) -> list[Frozen]:
    """Move the partitions that are chosen into cold files."""
    found = await to_freeze(engine, datetime.now(UTC), TABLES)
    return [f async for f in freeze(engine, url, [p for p, yes in zip(found, chosen, strict=False) if yes])]


def files(url: str) -> list[Path]:
    """Return the files at a location."""
    return sorted(Path(url).rglob("*.parquet"))


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.timeout(max(120, 20 * EXAMPLES))
def test_every_question_has_the_same_answer(database_url: str) -> None:
    """Any store, some of it packed, some cold, some both, late records after that: as if all were rows."""

    async def move(engine: AsyncEngine, chosen: list[bool]) -> None:
        await chill(engine, MEMORY, chosen)
        for partition in (await to_pack(engine, datetime.now(UTC), TABLES))[::2]:
            await pack_partition(engine, partition)

    assert_same_answers(StorageConfig(database_url, cold_url=MEMORY), move, EXAMPLES, QUESTIONS_A_STORE)


async def test_what_is_cold_is_out_of_postgresql_and_told(cold_engine: AsyncEngine, url: str) -> None:
    """One file a day and signal, of mode 0600; the store's edges and the partitions are told without a look into it."""
    await stored(cold_engine, {"log_records": many(3000)})
    (moved,) = await chill(cold_engine, url)
    (file,) = files(url)
    (state,) = [p for p in await partition_states(cold_engine, datetime.now(UTC)) if p.table == "log_records"]
    file.rename(file.with_suffix(".away"))
    info = await Reader(cold_engine).store_info()

    day = datetime.fromtimestamp(BASE_US / 1e6, UTC)
    assert (moved.records, moved.files, moved.bytes) == (3000, 1, file.with_suffix(".away").stat().st_size)
    assert file.parent == Path(url) / "logs" / f"day={day:%Y-%m-%d}"
    assert file.with_suffix(".away").stat().st_mode & 0o077 == 0
    assert (state.state, state.rows, state.packed_records, state.cold_records) == ("cold", 0, 0, 3000)
    assert (info.rows["log_records"], info.oldest_ns["log_records"]) == (3000, BASE_US * 1000)
    assert info.newest_ns["log_records"] == (BASE_US + 2999 * 1_000_000) * 1000


async def test_other_tools_read_the_file(cold_engine: AsyncEngine, url: str) -> None:
    """It is Parquet with the columns of the table: any tool counts in it."""
    await stored(cold_engine, {"log_records": many(300, attributes=b'{"n": 1.50}')})
    await chill(cold_engine, url)

    table = duckdb.read_parquet(f"{url}/logs/*/*.parquet")
    found = table.aggregate("component, count(*), any_value(attributes)").order("component").fetchall()

    assert found == [(component, 100, '{"n": 1.50}') for component in sorted(COMPONENTS)]


async def test_late_records_of_a_cold_day_are_found_and_follow(cold_engine: AsyncEngine, url: str) -> None:
    """They are rows beside the file; by itself they wait for a day, asked for they follow; past eight files: one."""
    await stored(cold_engine, {"log_records": many(400)})
    await chill(cold_engine, url)
    await stored(cold_engine, {"log_records": many(5, event_name="late")})
    seen = [e async for e in all_logs(Reader(cold_engine))]
    waiting = await to_freeze(cold_engine, datetime.now(UTC), TABLES, by_itself=True)

    assert (len(seen), len({e.id for e in seen}), waiting) == (405, 405, [])
    for _ in range(7):
        await chill(cold_engine, url)
        await stored(cold_engine, {"log_records": many(1)})
    assert len(files(url)) == 8
    (moved,) = await chill(cold_engine, url)
    assert (moved.records, moved.files, len(files(url))) == (412, 1, 1)
    assert len([e async for e in all_logs(Reader(cold_engine))]) == 412


async def test_deleting_reaches_into_files(cold_engine: AsyncEngine, url: str) -> None:
    """Exactly the records that match go, at once for every question; with the next run their bytes leave the disk."""
    await stored(cold_engine, {"log_records": many(3000)})
    await chill(cold_engine, url)
    table = log_records.c
    (before,) = files(url)
    counts = []
    for conditions, limit in (
        ([table.trace_id == UUID(int=5)], 50),
        ([table.component == "till", table.severity_number >= 17], 100),
        ([table.component == "till", table.severity_number >= 17], 50_000),
        ([table.body.icontains("MESSAGE 2999")], 50),
        ([table.component == "nobody"], 50),
    ):
        async with cold_engine.begin() as connection:
            counts.append(await delete_rows(connection, log_records, conditions, limit))
    left = sorted([e.body or "" async for e in all_logs(Reader(cold_engine))])

    gone = [n for n in range(3000) if n // 8 + 1 == 5 or (n % 3 == 1 and n % 20 + 1 >= 17) or n == 2999]
    assert counts == [8, 100, len(gone) - 109, 1, 0]
    assert left == sorted(f"message {n}" for n in range(3000) if n not in gone)
    never = datetime(1, 1, 1, tzinfo=UTC)
    anew = await to_freeze(cold_engine, never, TABLES, by_itself=True)
    (moved,) = [m async for m in freeze(cold_engine, url, anew)]
    (after,) = files(url)
    assert before != after
    assert moved.records == len(left)
    gone_bodies = duckdb.read_parquet(str(after)).filter("body IN ('message 2999', 'message 32')")
    assert gone_bodies.fetchall() == []
    assert sorted([e.body or "" async for e in all_logs(Reader(cold_engine))]) == left


async def test_a_partition_that_is_dropped_takes_its_files_along(cold_engine: AsyncEngine, url: str) -> None:
    """Retention lets a cold day go as any other; nothing is left of it at the location."""
    await stored(cold_engine, {"log_records": many(500), "spans": []})
    await chill(cold_engine, url)
    (partition,) = [p for p in await list_partitions(cold_engine) if p.table == "log_records"]
    async with cold_engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE log_records DETACH PARTITION {partition.name}"))
    async with cold_engine.begin() as connection:
        bounds = Range(partition.since, partition.until)
        await drop_detached(connection, "log_records", partition.name, bounds)

    assert [e async for e in all_logs(Reader(cold_engine))] == []
    assert await Reader(cold_engine).line_counts(LogQuery()) == []
    await chill(cold_engine, url)
    assert files(url) == []


async def test_thawed_is_as_it_was(cold_engine: AsyncEngine, url: str) -> None:
    """The way back: all are rows again with their ids, and no file is left."""
    await stored(cold_engine, {"log_records": many(2000, exact=b"\0\xff")})
    before = await exported(cold_engine)
    await chill(cold_engine, url)
    counts = [await thaw(cold_engine, url, p) for p in await list_partitions(cold_engine)]
    unpacked = [await unpack_partition(cold_engine, p) for p in await list_partitions(cold_engine)]

    assert (sum(counts), sum(unpacked)) == (2000, 2000)
    assert await exported(cold_engine) == before
    assert files(url) == []


async def test_a_question_reads_what_it_must(
    cold_engine: AsyncEngine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that DuckDB hands over: of a trace, a word, an attribute, a component those that match, not the day."""
    rows = many(6000)
    rows[77] = rows[77]._replace(attributes=b'{"user.id": "u-77"}')
    await stored(cold_engine, {"log_records": rows})
    await chill(cold_engine, url)
    fetched: list[int] = []
    of_batch = reading._fetched

    def counted(table: str, columns: Sequence[str], batch: Any) -> Any:
        fetched.append(batch.num_rows)
        return of_batch(table, columns, batch)

    monkeypatch.setattr(reading, "_fetched", counted)
    reader = Reader(cold_engine)

    async def handed(name: str, *arguments: Any) -> int:
        fetched.clear()
        assert await getattr(reader, name)(*arguments)
        return sum(fetched)

    assert await handed("trace_outline", (5).to_bytes(16, "big").hex()) <= 4 * 8
    assert await handed("read_messages", LogQuery(text="MESSAGE 4711")) <= 2
    assert await handed("read_messages", LogQuery(attributes={"user.id": "u-77"})) <= 2
    assert await handed("get_log", 4711) <= 1
    assert await handed("read_messages", LogQuery(limit=100)) <= 3 * 2048
    assert await handed("log_counts", LogQuery(component="till", severity_min=20)) <= 200


async def test_what_would_load_too_much_is_refused(cold_engine: AsyncEngine, url: str) -> None:
    """The bound of packed records is theirs too: an honest error, and a narrower question is answered."""
    await stored(cold_engine, {"log_records": many(3000)})
    await chill(cold_engine, url)
    everything = select(func.sum(log_records.c.severity_number), func.min(log_records.c.body))

    async with reading_connection(cold_engine, bytes_max=95_000) as connection:
        with pytest.raises(QuestionTooLarge, match="narrow the window"):
            await connection.execute(everything)
        narrow = everything.where(log_records.c.trace_id == UUID(int=5))
        assert (await connection.execute(narrow)).one().sum == sum(n % 20 + 1 for n in range(32, 40))


async def test_a_search_of_too_much_says_how_far_it_came(
    cold_engine: AsyncEngine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed days and cold ones: what would load too much is done over so many records, and the cursor goes on."""
    await stored(cold_engine, {"log_records": many(6000)})
    monkeypatch.setattr(reader_module, "reading_connection", partial(reading_connection, bytes_max=600_000))
    monkeypatch.setattr(bounds, "SEARCH_ROWS", 500)
    query = LogQuery(query=parse("scope:nobody NOT body:é"))
    for move in (pack_all, lambda engine: chill(engine, url)):
        await move(cold_engine)
        page = await Reader(cold_engine).find_logs(query)
        assert page.items == []
        assert page.stopped is not None
        assert page.stopped.searched == 500
        assert 6000 <= page.stopped.about < 6500  # PostgreSQL's guess at an empty partition is some hundred
        stops = 0
        while page.next_cursor is not None:
            stops += page.stopped is not None
            page = await Reader(cold_engine).find_logs(replace(query, cursor=page.next_cursor))
        assert (stops >= 2, page.items, page.stopped) == (True, [], None)


async def pack_all(engine: AsyncEngine) -> Any:
    """Pack what can be packed."""
    return [await pack_partition(engine, p) for p in await to_pack(engine, datetime.now(UTC), TABLES)]


async def test_cold_records_are_never_silently_missing(
    cold_engine: AsyncEngine, url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No location set, no DuckDB, a file that is gone: an error that says what to do. What is hot is answered still."""
    await stored(cold_engine, {"log_records": many(100)})
    await chill(cold_engine, url)
    unset = write_engine(StorageConfig(database_url))
    recent = LogQuery(since_ns=(BASE_US + 2 * 86_400_000_000) * 1000)

    with pytest.raises(PermanentStoreError, match="OTEL_INGEST_COLD_URL"):
        await Reader(unset).find_logs(LogQuery())
    assert (await Reader(unset).find_logs(recent)).items == []
    await unset.dispose()

    reading._database.cache_clear()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(PermanentStoreError, match=r"pip install 'otel-ingest\[cold\]'"):
        await Reader(cold_engine).find_logs(LogQuery())
    monkeypatch.undo()

    (file,) = files(url)
    assert await missing_files(cold_engine, url) == []
    file.unlink()
    with pytest.raises(RetryableStoreError, match=r"cold file logs/day="):
        await Reader(cold_engine).find_logs(LogQuery())
    assert await missing_files(cold_engine, url) == [str(file.relative_to(url))]


async def test_a_file_that_is_damaged_moves_nothing(
    cold_engine: AsyncEngine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not read back as it was written is told, its records stay where they are, and the file goes."""
    await stored(cold_engine, {"log_records": many(300)})
    whole = location.Location.finish

    def damaged(self: location.Location, path: str, file: Any) -> int:
        size = whole(self, path, file)
        there = Path(self.address(path))
        content = bytearray(there.read_bytes())
        content[len(content) // 3] ^= 1
        there.write_bytes(content)
        return size

    monkeypatch.setattr(location.Location, "finish", damaged)
    with pytest.raises((PermanentStoreError, RetryableStoreError)):
        await chill(cold_engine, url)
    monkeypatch.undo()

    assert len([e async for e in all_logs(Reader(cold_engine))]) == 300
    assert [m.records for m in await chill(cold_engine, url)] == [300]
    assert len(files(url)) == 1


async def test_duckdb_reads_below_the_location_alone(cold_engine: AsyncEngine, url: str, tmp_path: Path) -> None:
    """No other file, no network, no extension, and no way back to what is locked."""
    await stored(cold_engine, {"log_records": many(10)})
    await chill(cold_engine, url)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    cursor = reading._database(url).cursor()

    for sql in (
        f"FROM read_csv('{tmp_path}/secret.csv')",
        f"FROM read_csv('{url}/../secret.csv')",
        "FROM read_parquet('https://localhost/x.parquet')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        f"ATTACH '{tmp_path}/other.db'",
    ):
        with pytest.raises(duckdb.Error):
            cursor.execute(sql)


async def test_whoever_waits_no_more_stops_duckdb(cold_engine: AsyncEngine, url: str) -> None:
    """Past its time a question of cold files ends with an error that says so."""
    await stored(cold_engine, {"log_records": many(100)})
    await chill(cold_engine, url)
    (path,) = [str(p.relative_to(url)) for p in files(url)]

    with pytest.raises(QuestionTooLarge, match="takes too long"):
        async for _ in reading.fetch(url, "log_records", packed_names("log_records"), [Rows(path, 0, 9)], Where(), 0.0):
            pass


async def test_readers_see_each_record_once_while_it_goes_cold(cold_engine: AsyncEngine, url: str) -> None:
    """Pages over all records, and their count, one after the other until it is over: always all of them."""
    await stored(cold_engine, {"log_records": many(10_000)})
    reader = Reader(cold_engine)
    moving = asyncio.create_task(chill(cold_engine, url))
    looks = 0
    while not moving.done() or looks < 3:
        (count,) = await reader.log_counts(LogQuery(severity_min=1))
        newest = await reader.find_logs(LogQuery(limit=1000))
        assert count.count == 10_000
        assert len({e.id for e in newest.items}) == 1000
        looks += 1
    assert [m.records for m in await moving] == [10_000]


@pytest.mark.slow
async def test_who_is_killed_while_it_moves_loses_nothing(
    database_url: str, cold_engine: AsyncEngine, url: str
) -> None:
    """SIGKILL at each step: all records are there once, no file of nobody stays, and it can go on."""
    await stored(cold_engine, {"log_records": many(3_000)})
    whole = sorted([e.id async for e in all_logs(Reader(cold_engine))])
    for moment, when in (
        ("INSERT INTO cold_files", "after"),
        ("FILE begin", "after"),
        ("FILE finish", "after"),
        ("DELETE FROM packed_blocks", "after"),
        ("UPDATE cold_files", "after"),
        ("INSERT INTO cold_chunks", "after"),
        ("INSERT INTO cold_chunks", "COMMIT"),
    ):
        assert await killed(database_url, url, moment, when) == -signal.SIGKILL
        assert sorted([e.id async for e in all_logs(Reader(cold_engine))]) == whole
        await chill(cold_engine, url)
        assert len(files(url)) == 1
        for partition in await list_partitions(cold_engine):
            await thaw(cold_engine, url, partition)

    await chill(cold_engine, url)
    assert sorted([e.id async for e in all_logs(Reader(cold_engine))]) == whole


async def killed(database_url: str, url: str, moment: str, when: str) -> int | None:
    """Run what moves records in a process that kills itself at a step."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.packer_victim", moment, when),
        env=os.environ | {"VICTIM_URL": database_url, "VICTIM_COLD_URL": url},
    )
    return await asyncio.wait_for(process.wait(), 60)
