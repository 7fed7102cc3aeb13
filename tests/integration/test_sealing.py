"""Indexes of closed partitions on real PostgreSQL: built once, beside writers, again where a build was cut off."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import lock_keys, maintenance, partitions, sealing
from storage.cold import upkeep
from storage.errors import RetryableStoreError
from storage.filters import LogQuery
from storage.periods import day_range
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = (NOW - timedelta(days=1)).date()
DAY_US = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp()) * 1_000_000
INDEXES = text("""
SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indexrelid::regclass::text ~ '(attributes|body)_idx'
""")
CUT_OFF = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE query LIKE 'CREATE INDEX CONC%' AND wait_event_type = 'Lock' AND datname = current_database()
""")


async def _plan(engine: AsyncEngine, condition: str) -> str:
    """Return how PostgreSQL finds log records where it may not read all of them."""
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE log_records"))
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        explained = text(f"EXPLAIN SELECT * FROM log_records WHERE {condition}")  # noqa: S608 - our own
        return " ".join((await connection.execute(explained)).scalars())


async def _store(engine: AsyncEngine, day: int, count: int) -> None:
    start = DAY_US + day * 86_400_000_000
    rows = [log_row(time=start + i, attributes=orjson.dumps({"user.id": f"u{i}"})) for i in range(count)]
    await PostgresSink(engine).write([batch_of(rows)])


async def _indexes(engine: AsyncEngine) -> dict[str, bool]:
    async with engine.connect() as connection:
        return {name.strip('"'): valid for name, valid in (await connection.execute(INDEXES)).all()}


async def test_a_closed_partition_is_indexed_once(engine: AsyncEngine) -> None:
    """Yesterday gets its index, today does not, nor does an empty day; the plan then says that nothing is due."""
    await partitions.maintain(engine, NOW, ahead=1)
    await _store(engine, 0, 20)
    await _store(engine, 1, 20)

    planned = await sealing.plan(engine, NOW)
    done = await maintenance.apply(engine, NOW, 60)
    again = await maintenance.apply(engine, NOW, 60)

    name = f"log_records_p{DAY:%Y%m%d}"
    assert [(step.kind, step.name) for step in planned] == [("index", name)] * 2
    assert [(each.step.kind, each.step.name, each.failed) for each in done] == [("index", name, "")] * 2
    assert await _indexes(engine) == {f"{name}_attributes_idx": True, f"{name}_body_idx": True}
    assert (again, await sealing.plan(engine, NOW)) == ([], [])


async def test_what_was_cut_off_is_built_again(engine: AsyncEngine) -> None:
    """A build whose session ends leaves an invalid index, in nobody's way; the next one ends with a valid one."""
    await _store(engine, 0, 20)
    async with engine.connect() as holder:
        # An old transaction that wrote to the partition: the build waits for it.
        await holder.execute(text("DELETE FROM log_records WHERE id < 0"))
        building = asyncio.create_task(sealing.apply(engine, NOW, 60))
        async with engine.connect() as other:
            while not (await other.execute(CUT_OFF)).all():
                await other.rollback()
                assert not building.done()
        await asyncio.wait({building})
        await holder.rollback()
    assert building.exception() is not None
    assert list((await _indexes(engine)).values()) == [False]

    done = await sealing.apply(engine, NOW, 60)

    assert [each.failed for each in done] == ["", ""]
    assert list((await _indexes(engine)).values()) == [True, True]


async def test_writers_do_not_wait_and_answers_stay(engine: AsyncEngine) -> None:
    """Late records go in beside the build and after it; each is found by its attribute, by the index."""
    await _store(engine, 0, 3_000)
    query = LogQuery(attributes={"user.id": "u77"}, since_ns=DAY_US * 1000, until_ns=(DAY_US + 86_400_000_000) * 1000)
    before = await Reader(engine).find_logs(query)

    await asyncio.gather(sealing.apply(engine, NOW, 60), _store(engine, 0, 100))
    plan = await _plan(engine, 'attributes @> \'{"user.id": "u77"}\'')
    after = await Reader(engine).find_logs(query)

    assert (before.matched, after.matched) == (1, 2)
    assert "_attributes_idx" in plan
    assert day_range((NOW.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days - 1).until + sealing.GRACE < NOW


async def test_a_word_of_a_closed_day_is_found_by_trigrams(engine: AsyncEngine) -> None:
    """The index is used, whatever the case of the word, and the answer is the one without it."""
    await _store(engine, 0, 3_000)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE log_records SET body = 'a Zyzzyva in ' || id WHERE id % 1000 = 0"))
    query = LogQuery(text="zYZZyva", since_ns=DAY_US * 1000, until_ns=(DAY_US + 86_400_000_000) * 1000)
    before = await Reader(engine).find_logs(query)

    await sealing.apply(engine, NOW, 60)
    plan = await _plan(engine, "body ILIKE '%zYZZyva%'")
    after = await Reader(engine).find_logs(query)

    assert before.matched == 3
    assert after == before
    assert "_body_idx" in plan


async def test_without_the_extension_words_are_looked_for_in_all_records(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pg_trgm cannot be had, attributes get their index all the same, and nothing more is due."""
    await partitions.maintain(engine, NOW, ahead=1)
    await _store(engine, 0, 20)
    monkeypatch.setattr(sealing, "_MAY_CREATE", text("SELECT false"))

    done = await sealing.apply(engine, NOW, 60)

    assert [each.failed for each in done] == [""]
    assert list(await _indexes(engine)) == [f"log_records_p{DAY:%Y%m%d}_attributes_idx"]
    assert await sealing.plan(engine, NOW) == []


async def test_cold_files_do_not_wait_for_indexes(engine: AsyncEngine, tmp_path: Path) -> None:
    """Each has a turn of its own: who builds an index keeps nobody from moving records, and the other way round."""
    await _store(engine, 0, 10)
    async with engine.connect() as raw:
        connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": lock_keys.SEALING})
        assert await upkeep.sweep(engine, str(tmp_path)) == 0
        assert await sealing.apply(engine, NOW, 60) == []
        await connection.execute(text("SELECT pg_advisory_unlock_all()"))
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": lock_keys.COLD})
        assert await sealing.apply(engine, NOW, 60)
        with pytest.raises(RetryableStoreError, match="moves cold files"):
            await upkeep.sweep(engine, str(tmp_path))
        await connection.invalidate()  # the lock ends with the session
