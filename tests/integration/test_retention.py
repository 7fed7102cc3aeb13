"""Retention on real PostgreSQL: what goes and what stays, beside writers, and after every kind of cut."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import migrate, partitions, roles
from storage.config import StorageConfig
from storage.engine import erase_engine, write_engine
from storage.models import log_records
from storage.periods import day_range
from storage.retention import carrying_out, store
from storage.retention.rules import Rule, keep_of, selector_of
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

DAY_US = 86_400_000_000
NOW = datetime.now(UTC)
WHO = ("tests", "admin")


async def rule(engine: AsyncEngine, keep: str | None, signal: str = "logs", **about: str) -> None:
    """Set a rule as people do, or end it."""
    selector = selector_of(signal, **about)
    new = None if keep is None else Rule(selector=selector, keep_s=keep_of(keep))
    await store.set_rule(engine, selector, new, "test", WHO, {})


async def day(engine: AsyncEngine, age_days: int, *rows: tuple[str, int]) -> str:
    """Store rows (component, severity) of a day that is so old, in a partition as if made then; return its name."""
    at = now_us() - age_days * DAY_US
    batch = batch_of([log_row(time=at, component=c, severity_number=s, body=f"{age_days}/{c}/{s}") for c, s in rows])
    await PostgresSink(engine).write([batch])
    name = partitions.partition_name("log_records", at // DAY_US)
    async with engine.begin() as connection:
        await connection.execute(text(f"COMMENT ON TABLE {name} IS 'otel-ingest made=0'"))
    return name


async def bodies(engine: AsyncEngine) -> list[str]:
    """Return what is there, sorted."""
    async with engine.connect() as connection:
        return sorted((await connection.execute(select(log_records.c.body))).scalars())


async def apply(engine: AsyncEngine, now: datetime = NOW) -> list[tuple[str, str]]:
    """Carry out; return (kind, partition), all done."""
    done = await carrying_out.apply(engine, now, 60)
    assert not [each for each in done if each.failed]
    return [(each.step.kind, each.step.name) for each in done]


async def test_the_example_is_carried_out(engine: AsyncEngine) -> None:
    """All logs 30 days, DEBUG 3, ERROR 90, shop 7: what is to go is gone, the rest is there, then nothing is to do."""
    for keep, about in (
        ("30d", {}),
        ("3d", {"severity_max": "debug"}),
        ("90d", {"severity_min": "error"}),
        ("7d", {"component": "shop"}),
    ):
        await rule(engine, keep, **about)
    rows = [(c, s) for c in ("shop", "pay") for s in (5, 9, 17)]
    names = {age: await day(engine, age, *rows) for age in (0, 2, 5, 9, 40, 95)}
    empty = await day(engine, 41, ("pay", 9))

    done = await apply(engine)

    assert sorted(done) == sorted(
        [("drop", names[95]), ("delete", empty), ("drop", empty)] + [("delete", names[age]) for age in (5, 9, 40)]
    )
    assert await bodies(engine) == sorted(
        [f"{age}/{c}/{s}" for age in (0, 2) for c, s in rows]
        + [f"5/{c}/{s}" for c, s in rows if (c, s) != ("pay", 5)]
        + ["9/pay/17", "9/pay/9", "9/shop/17"]
        + ["40/pay/17", "40/shop/17"]
    )
    async with asyncio.timeout(20):
        while await carrying_out.plan(engine, NOW):
            # PostgreSQL told late of rows that were there: looked through again, nothing goes.
            assert {kind for kind, _ in await apply(engine)} <= {"delete"}
    assert await apply(engine) == []


async def test_what_comes_late_into_an_expired_day_goes_too(engine: AsyncEngine) -> None:
    """A day that was looked through takes a late row: it is looked through again."""
    await rule(engine, "3d", severity_max="debug")
    name = await day(engine, 5, ("pay", 5), ("pay", 9))
    assert await apply(engine) == [("delete", name)]
    await PostgresSink(engine).write([batch_of([log_row(time=now_us() - 5 * DAY_US, severity_number=5, body="late")])])

    async def seen() -> bool:
        return bool(await carrying_out.plan(engine, NOW))

    async with asyncio.timeout(20):
        while not await seen():  # PostgreSQL tells of new rows within a second  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await apply(engine) == [("delete", name)]
    assert await bodies(engine) == ["5/pay/9"]


async def test_a_store_that_is_new_keeps_thirty_days(engine: AsyncEngine, empty_database_url: str) -> None:
    """And one that held partitions before gets no rule: nothing of it goes that nobody asked for."""
    assert [(s.rule.selector.words(), s.rule.keep_s) for s in await store.rules(engine)] == [
        ("logs", 30 * 86_400),
        ("metrics", 30 * 86_400),
        ("spans", 30 * 86_400),
    ]

    await migrate.upgrade(empty_database_url, "0011")
    other = write_engine(StorageConfig(empty_database_url))
    await partitions.ensure_days(other, "spans", {20_000})
    await migrate.upgrade(empty_database_url)
    assert await store.rules(other) == []
    assert await carrying_out.plan(other, NOW) == []
    await other.dispose()


async def test_late_records_are_kept_as_long_as_others(engine: AsyncEngine) -> None:
    """A year old and stored now: not dropped until thirty days from now."""
    at = now_us() - 365 * DAY_US
    await PostgresSink(engine).write([batch_of([log_row(time=at)])])

    assert await carrying_out.plan(engine, NOW + timedelta(days=29)) == []
    (step,) = await carrying_out.plan(engine, NOW + timedelta(days=31))
    assert (step.kind, step.name) == ("drop", partitions.partition_name("log_records", at // DAY_US))


async def test_days_go_under_live_ingest(engine: AsyncEngine) -> None:
    """Two writers of tomorrow and of an old day, which is dropped and trimmed: tomorrow is whole, nothing fails."""
    await rule(engine, "3d", severity_max="debug")
    stop = asyncio.Event()

    async def ingest(writer: int) -> list[str]:
        sink, written = PostgresSink(engine), list[str]()
        while not stop.is_set():
            body = f"new-{writer}-{len(written):05d}"
            old = log_row(time=now_us() - (40 + writer) * DAY_US, body="old", severity_number=5)
            (outcome,) = await sink.write([batch_of([old, log_row(time=now_us() + DAY_US, body=body)])])
            assert all(row.index == 0 for row in outcome.rejected)
            written.append(body)
        return written

    writers = [asyncio.create_task(ingest(n)) for n in range(2)]
    kinds = set()
    async with asyncio.timeout(60):
        while kinds != {"delete", "drop"}:
            # In 30 days and a half the partition that was just made for the old day is over; in 4 days its DEBUG is.
            for days in (4, 30.5):
                done = await apply(engine, NOW + timedelta(days=days))
                kinds |= {kind for kind, _ in done} & {"delete", "drop"}
    stop.set()
    written = await asyncio.gather(*writers)

    assert [b for b in await bodies(engine) if b != "old"] == sorted(written[0] + written[1])


async def test_a_reader_holds_up_nobody(engine: AsyncEngine, database_url: str) -> None:
    """A reader is in the middle of the old day: the detach waits for it, and a writer waits for neither."""
    name = await day(engine, 40, ("pay", 9))
    await day(engine, 0, ("pay", 9))
    async with await psycopg.AsyncConnection.connect(database_url) as reader:
        await reader.execute("SELECT count(*) FROM log_records")
        dropping = asyncio.create_task(apply(engine))
        async with asyncio.timeout(20):
            while not await _is_detaching(engine, name):  # noqa: ASYNC110 - PostgreSQL alone knows
                await asyncio.sleep(0.01)
        await asyncio.wait_for(PostgresSink(engine).write([batch_of([log_row(body="meanwhile")])]), timeout=10)
        assert not dropping.done()
        await reader.commit()
    assert await dropping == [("drop", name)]
    assert await bodies(engine) == ["0/pay/9", "meanwhile"]


async def _is_detaching(engine: AsyncEngine, name: str) -> bool:
    async with engine.connect() as connection:
        pending = text(f"SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass('{name}')")  # noqa: S608
        return bool((await connection.execute(pending)).scalar())


async def test_a_detach_that_was_cut_off_is_ended(engine: AsyncEngine, database_url: str) -> None:
    """The session is killed while it waits: the next time the detach is finalized, and the partition dropped."""
    name = await day(engine, 40, ("pay", 9))
    async with await psycopg.AsyncConnection.connect(database_url) as reader:
        await reader.execute("SELECT count(*) FROM log_records")
        dropping = asyncio.create_task(carrying_out.apply(engine, NOW, 60))
        async with asyncio.timeout(20):
            while not await _is_detaching(engine, name):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE query LIKE 'ALTER TABLE%DETACH%CONCURRENTLY' AND datname = current_database()"
                )
            )
        with pytest.raises(Exception, match=r"terminat|connection"):
            await dropping
        # What is stored of that day meanwhile is refused by name, not lost.
        (outcome,) = await PostgresSink(engine).write([batch_of([log_row(time=now_us() - 40 * DAY_US), log_row()])])
        assert [row.index for row in outcome.rejected] == [0]

    assert await apply(engine) == [("finalize", name), ("drop detached", name)]
    assert await bodies(engine) == ["hello"]


async def test_a_day_that_somebody_else_detached_stays(engine: AsyncEngine) -> None:
    """However old: it bears no mark, and may be kept for a reason."""
    name = await day(engine, 400, ("pay", 9))
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE log_records DETACH PARTITION {name}"))

    assert await apply(engine) == []
    async with engine.connect() as connection:
        assert (await connection.execute(text(f"TABLE {name}"))).all()


async def test_a_rule_that_changed_meanwhile_is_heard(engine: AsyncEngine) -> None:
    """The plan of before is not what is carried out: each step is planned again."""
    await day(engine, 40, ("pay", 9))
    assert [s.kind for s in await carrying_out.plan(engine, NOW)] == ["drop"]
    await rule(engine, "60d")

    assert await apply(engine) == []
    assert await bodies(engine) == ["40/pay/9"]


async def test_two_at_the_same_time_do_it_once(engine: AsyncEngine, database_url: str) -> None:
    """The second finds the lock taken and does nothing; together each partition went once."""
    for age in range(40, 46):
        await day(engine, age, ("pay", 9))
    other = write_engine(StorageConfig(database_url))
    try:
        both = await asyncio.gather(*(carrying_out.apply(e, NOW, 60) for e in (engine, other)))
    finally:
        await other.dispose()

    assert sorted(len(done) for done in both) == [0, 6]


async def test_time_is_bounded(engine: AsyncEngine) -> None:
    """No step is begun past the time that there is."""
    await day(engine, 40, ("pay", 9))

    assert await carrying_out.apply(engine, NOW, 0) == []


async def test_rules_are_set_by_the_eraser_and_written_down(engine: AsyncEngine, database_url: str) -> None:
    """In the transaction of their audit entry; the writer and the reader may look, and no more."""
    await roles.grant(database_url, dict.fromkeys(roles.TABLES_OF, "p" * 20))
    eraser = erase_engine(StorageConfig(roles.url_as(database_url, roles.ERASER, "p" * 20)))
    await rule(eraser, "90d", severity_min="error")
    await rule(eraser, "60d", severity_min="error")
    await rule(eraser, None, "spans")
    await eraser.dispose()

    found = {s.rule.selector.words(): s.rule.keep_s for s in await store.rules(engine)}
    assert found == {"logs": 30 * 86_400, "metrics": 30 * 86_400, "logs, severity ERROR and above": 60 * 86_400}
    async with engine.connect() as connection:
        entries = (await connection.execute(text("SELECT caller, action, outcome FROM audit_log"))).all()
    assert [tuple(e) for e in entries] == [("tests", "logger_set_retention", "done")] * 3


async def test_partitions_of_every_period_go(engine: AsyncEngine) -> None:
    """Hours and weeks as days do; of a week, when its last day is over."""
    old = int(time.time() // 86_400) - 60
    await partitions.set_period(engine, "log_records", "hour")
    await partitions.ensure_days(engine, "log_records", {old})
    await partitions.set_period(engine, "log_records", "week")
    await partitions.ensure_days(engine, "log_records", {old + 14})
    async with engine.begin() as connection:
        of = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'log_records'::regclass"
        for name in (await connection.execute(text(of))).scalars().all():
            await connection.execute(text(f"COMMENT ON TABLE {name} IS 'otel-ingest made=0'"))

    assert len(await apply(engine, day_range(old).until + timedelta(days=30))) == 24
    (week,) = await partitions.list_partitions(engine)
    assert await apply(engine, week.until + timedelta(days=30) - timedelta(seconds=1)) == []
    assert await apply(engine, week.until + timedelta(days=30)) == [("drop", week.name)]
