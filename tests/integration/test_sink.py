"""The sink against real PostgreSQL: durable, all or the rest, poison isolated, partitions on demand."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import migrate, partitions
from storage import sink as sink_module
from storage.api import Outcome
from storage.batch import Batch
from storage.errors import RetryableStoreError
from storage.sink import PostgresSink
from tests.factories import RESOURCE, batch_of, log_row, now_us

DAY_US = 86_400_000_000
YEAR_US = 365 * DAY_US


async def count(engine: AsyncEngine) -> int:
    """Return how many log records are stored."""
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM log_records"))).scalar_one())


async def test_rows_are_readable_when_write_returns(engine: AsyncEngine) -> None:
    """Two batches in one call: all rows of both are there, resources and scopes once."""
    sink = PostgresSink(engine)

    outcomes = await sink.write([batch_of([log_row()] * 3), batch_of([log_row()] * 2)])

    assert outcomes == [Outcome(), Outcome()]
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

    outcomes = await PostgresSink(engine).write([clean, batch_of(rows)])

    assert outcomes[0] == Outcome()
    assert sorted(r.index for r in outcomes[1].rejected) == [13, 77]
    assert all("PostgreSQL refused it" in r.reason for r in outcomes[1].rejected)
    assert await count(engine) == 99


async def test_rows_of_a_refused_resource_cost_no_neighbour(engine: AsyncEngine) -> None:
    """A service.name too long for an index: its rows are refused, those of another sender in the same write are not."""
    # Hexadecimal of a digest does not compress below the 2,704 bytes that an index entry may have.
    name = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(120))
    long = RESOURCE._replace(id=b"x" * 16, component=name)
    bad = batch_of([log_row(resource_id=long.id), log_row(), log_row(resource_id=long.id)])
    bad.resources[long.id] = long

    outcomes = await PostgresSink(engine).write([batch_of([log_row()] * 2), bad])

    assert outcomes[0] == Outcome()
    assert [r.index for r in outcomes[1].rejected] == [0, 2]
    assert all("refused its resource" in r.reason for r in outcomes[1].rejected)
    assert await count(engine) == 3


async def test_a_resource_is_remembered_only_once_committed(engine: AsyncEngine) -> None:
    """The first row that names a resource is refused and takes it back; the next one stores it."""
    sink = PostgresSink(engine)
    await sink.write([batch_of([log_row(attributes=b'{"broken')])])
    await sink.write([batch_of([log_row()])])

    async with engine.connect() as connection:
        joined = "SELECT count(*) FROM log_records JOIN resources r ON r.id = resource_id"
        assert (await connection.execute(text(joined))).scalar_one() == 1


async def test_json_nested_too_deep_is_refused_not_retried(engine: AsyncEngine) -> None:
    """PostgreSQL's stack limit is the row's fault: the row is named, the others are stored."""
    deep = b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"

    outcomes = await PostgresSink(engine).write([batch_of([log_row(), log_row(attributes=deep), log_row()])])

    assert [r.index for r in outcomes[0].rejected] == [1]
    assert await count(engine) == 2


async def test_isolation_stores_all_or_nothing(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes away while bad rows are looked for: nothing is stored, so a retry stores nothing twice."""
    copies = iter(range(100))
    copy = sink_module._copy

    async def copy_thrice(connection: AsyncConnection, batches: Sequence[Batch], places: list[tuple[int, int]]) -> None:
        await copy(connection, batches, places)
        if next(copies) == 1:
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(sink_module, "_copy", copy_thrice)
    rows = [log_row(attributes=b'{"broken'), *[log_row()] * 7]

    with pytest.raises(RetryableStoreError):
        await PostgresSink(engine).write([batch_of(rows)])

    assert next(copies) >= 2, "good halves were copied before it broke"
    assert await count(engine) == 0


async def test_one_request_of_fifteen_hundred_days(engine: AsyncEngine) -> None:
    """More partitions than one transaction has locks for by default; each day gets its own, each row is stored."""
    rows = [log_row(time=now_us() - day * DAY_US) for day in range(1_500)]

    assert await PostgresSink(engine).write([batch_of(rows)]) == [Outcome()]
    assert await count(engine) == 1_500


async def test_days_past_the_maximum_of_partitions_are_refused(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two days: rows of a third are refused with the reason, the others are stored."""
    monkeypatch.setattr(partitions, "PARTITIONS_MAX", 2)
    rows = [log_row(time=now_us() + day * DAY_US) for day in (0, 1, 2, 1)]

    outcomes = await PostgresSink(engine).write([batch_of(rows)])

    assert [r.index for r in outcomes[0].rejected] == [2]
    assert "partition" in outcomes[0].rejected[0].reason
    assert await count(engine) == 3


async def test_partitions_appear_for_years_back_and_ahead(engine: AsyncEngine) -> None:
    """A record nine years old and one nine years ahead find their day."""
    rows = [log_row(time=now_us() - 9 * YEAR_US), log_row(time=now_us() + 9 * YEAR_US)]

    assert await PostgresSink(engine).write([batch_of(rows)]) == [Outcome()]
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
