"""Rejected records: kept as they were sent, in the transaction of the good ones, never at their cost, within bounds."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import maintenance, partitions, rejected, roles
from storage import sink as sink_module
from storage.api import Outcome
from storage.batch import Batch, RejectedRecord, RejectedRow, Tuples
from storage.config import StorageConfig, Windows
from storage.engine import read_engine, write_engine
from storage.keys import request_key
from storage.rejected import RECORD_BYTES_MAX, RejectedBounds
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row


def partly_bad(body: bytes = b"body", early: int = 1, size: int = 10) -> Batch:
    """Return a batch of two good rows and one that PostgreSQL refuses, of a request with ``early`` more."""
    batch = batch_of([log_row(), log_row(attributes=b'{"broken'), log_row()])
    batch.key = request_key("logs", body)
    batch.rejected_early = early

    def describe(refused: Sequence[RejectedRow]) -> list[RejectedRecord]:
        reasons = [(n + 100, "bad id") for n in range(early)] + [(row.index, row.reason) for row in refused]
        return [RejectedRecord("logs", "shop", at, why, "application/x-protobuf", b"x" * size) for at, why in reasons]

    batch.describe = describe
    return batch


async def count(engine: AsyncEngine, table: str = "rejected_records") -> int:
    """Return the rows of a table."""
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())  # noqa: S608


async def test_they_are_kept_with_reason_and_digest(engine: AsyncEngine) -> None:
    """One refused by decode, one by PostgreSQL; a repeat of the request adds nothing."""
    sink = PostgresSink(engine)
    (outcome,) = await sink.write([partly_bad()])
    assert [row.index for row in outcome.rejected] == [1]
    assert (await sink.write([partly_bad()]))[0].duplicate_age_s is not None

    newest = await rejected.newest(engine, "shop", 10)

    assert [(r.position, r.reason.split(":")[0]) for r in newest] == [(1, "PostgreSQL refused it"), (100, "bad id")]
    assert {r.digest for r in newest} == {request_key("logs", b"body").digest.hex()}
    assert await rejected.newest(engine, "other", 10) == []
    shown = await rejected.one(engine, newest[0].id)
    assert shown is not None
    assert (shown.record, shown.record_bytes) == (b"x" * 10, 10)
    assert await rejected.one(engine, 10_000) is None


async def test_a_request_without_a_good_record_leaves_its_trace(engine: AsyncEngine) -> None:
    """Nothing to store, two to keep."""
    batch = partly_bad(early=2)
    batch.rows = Tuples()

    assert await PostgresSink(engine).write([batch]) == [Outcome()]
    assert await count(engine) == 2


async def test_keeping_them_never_costs_good_ones(engine: AsyncEngine) -> None:
    """Their table is gone: the good rows are stored all the same."""
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE rejected_records RENAME TO elsewhere"))

    (outcome,) = await PostgresSink(engine).write([partly_bad()])

    assert [row.index for row in outcome.rejected] == [1]
    assert await count(engine, "log_records") == 2


async def test_a_long_one_is_cut_and_text_is_made_to_fit(engine: AsyncEngine) -> None:
    """64 KiB are kept, the length is told; NUL and lone surrogates in a reason are no error."""
    batch = partly_bad(early=1, size=RECORD_BYTES_MAX + 5)
    describe = batch.describe
    assert describe is not None
    batch.describe = lambda rows: [
        RejectedRecord(r.signal, "a\0b", r.position, "\ud800" * 2000, r.media_type, r.data) for r in describe(rows)
    ]
    await PostgresSink(engine).write([batch])

    (found, _) = await rejected.newest(engine, None, 10)
    whole = await rejected.one(engine, found.id)
    assert whole is not None
    assert (len(whole.record), whole.record_bytes) == (RECORD_BYTES_MAX, RECORD_BYTES_MAX + 5)
    assert whole.component == "a�b"


async def test_they_are_bounded_and_can_be_switched_off(engine: AsyncEngine) -> None:
    """A quarter of the bytes between two prunings; pruned to bounds, oldest first; 0 bytes: none at all."""
    sink = PostgresSink(engine, rejected=RejectedBounds(bytes_max=4_000))
    for n in range(20):
        await sink.write([partly_bad(str(n).encode(), early=1, size=100)])
    assert await count(engine) == 10

    newest = [r.id for r in await rejected.newest(engine, None, 3)]
    await rejected.prune(engine, RejectedBounds(bytes_max=350))
    assert [r.id for r in await rejected.newest(engine, None, 100)] == newest
    await rejected.prune(engine, RejectedBounds(records_max=2))
    assert await count(engine) == 2
    await rejected.prune(engine, RejectedBounds(age_s=0.0))
    assert await count(engine) == 0

    await PostgresSink(engine, rejected=RejectedBounds(bytes_max=0)).write([partly_bad(b"off")])
    assert await count(engine) == 0


async def test_nothing_is_asked_for_when_nothing_is_rejected(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good request neither describes nor keeps."""
    batch = batch_of([log_row()])

    def describe(_: Sequence[RejectedRow]) -> list[RejectedRecord]:
        raise AssertionError

    async def keep(*_: object) -> None:
        raise AssertionError

    batch.describe = describe
    monkeypatch.setattr(sink_module.RejectedRecords, "keep", keep)

    assert await PostgresSink(engine).write([batch]) == [Outcome()]


async def test_a_connection_that_breaks_while_keeping_breaks_all(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is over: nothing is stored, and that is said."""
    from storage.errors import RetryableStoreError

    keep = rejected.RejectedRecords.keep

    async def keep_after_the_end(
        self: rejected.RejectedRecords, connection: AsyncConnection, records: Sequence[tuple[RejectedRecord, bytes]]
    ) -> None:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        async with engine.connect() as other:
            await other.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)"))
        await keep(self, connection, records)

    with monkeypatch.context() as patched:
        patched.setattr(rejected.RejectedRecords, "keep", keep_after_the_end)
        with pytest.raises(RetryableStoreError):
            await PostgresSink(engine).write([partly_bad()])
    assert await count(engine, "log_records") == 0
    await PostgresSink(engine).write([partly_bad()])
    assert await count(engine, "log_records") == 2


async def test_the_writer_keeps_and_looks_after_what_it_cannot_read(engine: AsyncEngine, database_url: str) -> None:
    """With the rights of its role alone: store once, keep rejected records, maintain; the reader lists them."""
    await partitions.maintain(engine, datetime.now(UTC), ahead=1)
    await roles.grant(database_url, {roles.WRITER: "writer-password", roles.READER: "reader-password"})
    writing = write_engine(StorageConfig(roles.url_as(database_url, roles.WRITER, "writer-password")))
    reading = read_engine(StorageConfig(roles.url_as(database_url, roles.READER, "reader-password")))
    sink = PostgresSink(writing, Windows(unnamed_s=0.01, unnamed_period_s=0.02))
    try:
        await sink.write([partly_bad()])
        assert len(await rejected.newest(reading, "shop", 10)) == 2
        async with asyncio.timeout(20):
            while sum([await count(engine, f"request_digests_{n}") for n in range(3)]):
                await maintenance.maintain(
                    writing, datetime.now(UTC), 1, Windows(unnamed_s=0.01, unnamed_period_s=0.02), RejectedBounds()
                )
        await rejected.prune(writing, RejectedBounds(bytes_max=0))
        assert await count(engine) == 0
    finally:
        await writing.dispose()
        await reading.dispose()
