"""The sink against real PostgreSQL: durable, all or the rest, poison isolated, partitions on demand."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import migrate, partitions
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, now_us

YEAR_US = 365 * 86_400_000_000


async def count(engine: AsyncEngine) -> int:
    """Return how many log records are stored."""
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM log_records"))).scalar_one())


async def test_rows_are_readable_when_write_returns(engine: AsyncEngine) -> None:
    """Two batches in one call: all rows of both are there, resources and scopes once."""
    sink = PostgresSink(engine)

    rejected = await sink.write([batch_of([log_row()] * 3), batch_of([log_row()] * 2)])

    assert rejected == [[], []]
    assert await count(engine) == 5
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM resources"))).scalar_one() == 1


async def test_columns_hold_what_the_row_said(engine: AsyncEngine) -> None:
    """Every column comes back as it was encoded."""
    row = log_row(attributes=b'{"a":1,"b":1.0}', body="Grüße", span_id=-5, exact=b"\x00\x01")
    await PostgresSink(engine).write([batch_of([row])])

    async with engine.connect() as connection:
        stored = (await connection.execute(text("SELECT *, attributes::text AS json FROM log_records"))).one()

    assert stored.body == "Grüße"
    assert stored.json == '{"a": 1, "b": 1.0}'
    assert stored.span_id == -5
    assert bytes(stored.exact) == b"\x00\x01"
    assert stored.trace_id.bytes == b"t" * 16
    assert stored.time == datetime.fromtimestamp(row.time / 1e6, UTC)


async def test_poison_rows_cost_only_themselves(engine: AsyncEngine) -> None:
    """JSON that PostgreSQL refuses in 2 of 100 rows: 98 stored, 2 named with a reason."""
    rows = [log_row() for _ in range(100)]
    for index in (13, 77):
        rows[index] = log_row(attributes=b'{"broken')
    clean = batch_of([log_row()])

    rejected = await PostgresSink(engine).write([clean, batch_of(rows)])

    assert rejected[0] == []
    assert sorted(r.index for r in rejected[1]) == [13, 77]
    assert all("PostgreSQL refused it" in r.reason for r in rejected[1])
    assert await count(engine) == 99


async def test_partitions_appear_for_years_back_and_ahead(engine: AsyncEngine) -> None:
    """A record nine years old and one nine years ahead find their day."""
    rows = [log_row(time=now_us() - 9 * YEAR_US), log_row(time=now_us() + 9 * YEAR_US)]

    assert await PostgresSink(engine).write([batch_of(rows)]) == [[]]
    assert await count(engine) == 2


async def test_a_dropped_partition_is_made_again(engine: AsyncEngine) -> None:
    """Retention took today's partition away while the sink remembers it: the rows are stored all the same."""
    sink = PostgresSink(engine)
    await sink.write([batch_of([log_row()])])
    async with engine.begin() as connection:
        name = (await partitions.list_partitions(engine))[0].name
        await connection.execute(text(f"DROP TABLE {name}"))

    await sink.write([batch_of([log_row()])])

    assert await count(engine) == 1


async def test_schema_is_what_the_models_say(empty_database_url: str) -> None:
    """Upgrade from nothing, partitions made, check is clean; down to nothing and up again."""
    await migrate.upgrade(empty_database_url)
    from storage.config import StorageConfig
    from storage.engine import write_engine

    engine = write_engine(StorageConfig(empty_database_url))
    await partitions.maintain(engine, datetime.now(UTC), ahead=2)
    await engine.dispose()

    await migrate.check(empty_database_url)
    await migrate.downgrade(empty_database_url)
    await migrate.upgrade(empty_database_url)
