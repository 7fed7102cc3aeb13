"""Deleting rows of a telemetry table: bounded, exact, and nothing of what another transaction adds."""

import re

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.deletion import DELETE_ROWS_MAX, delete_rows
from storage.models import log_records, spans
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

DAY_US = 86_400_000_000


async def stored(engine: AsyncEngine) -> list[str]:
    """Return the bodies that are there, sorted."""
    async with engine.connect() as connection:
        return sorted((await connection.execute(select(log_records.c.body))).scalars())


async def test_rows_leave_by_condition_within_a_limit(engine: AsyncEngine) -> None:
    """Of three days and two components: the one's rows go, ten at most a call, until none is left of it."""
    at = now_us()
    rows = [
        log_row(time=at - day * DAY_US, component=component, body=f"{component}-{day}-{n}")
        for day in range(3)
        for component in ("shop", "pay")
        for n in range(5)
    ]
    await PostgresSink(engine).write([batch_of(rows)])

    counts = []
    for _ in range(3):
        async with engine.begin() as connection:
            counts.append(await delete_rows(connection, log_records, [log_records.c.component == "shop"], 10))

    assert counts == [10, 5, 0]
    assert await stored(engine) == sorted(f"pay-{day}-{n}" for day in range(3) for n in range(5))


async def test_nothing_is_gone_before_the_commit(engine: AsyncEngine) -> None:
    """A transaction that is rolled back deletes nothing."""
    await PostgresSink(engine).write([batch_of([log_row(body="here")])])
    async with engine.connect() as connection:
        assert await delete_rows(connection, log_records, [], 10) == 1
        await connection.rollback()

    assert await stored(engine) == ["here"]


async def test_a_deletion_reads_one_partition(engine: AsyncEngine) -> None:
    """The rows that were chosen of one partition are deleted there: no other is read a second time."""
    at = now_us()
    rows = [log_row(time=at - day * DAY_US + n) for day in range(3) for n in range(100)]
    await PostgresSink(engine).write([batch_of(rows)])
    statements: list[tuple[str, object]] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
    async with engine.connect() as connection:
        await delete_rows(connection, log_records, [log_records.c.severity_number < 17], 3)
        statement, parameters = next((s, p) for s, p in statements if "DELETE" in s)
        rows_of_plan = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)  # type: ignore[arg-type]
        plan = "\n".join(rows_of_plan.scalars())

    assert len(re.findall(r"Scan .*on log_records", plan)) == 1, plan


async def test_a_table_without_partitions_has_nothing_to_delete(engine: AsyncEngine) -> None:
    """An empty store: 0, no error."""
    async with engine.begin() as connection:
        assert await delete_rows(connection, spans, [spans.c.component == "shop"], 1) == 0


@pytest.mark.parametrize("limit", [0, -1, DELETE_ROWS_MAX + 1])
async def test_the_limit_is_bounded(engine: AsyncEngine, limit: int) -> None:
    """No call may take for ever."""
    async with engine.connect() as connection:
        with pytest.raises(ValueError, match="rows"):
            await delete_rows(connection, log_records, [], limit)
