"""What a write costs PostgreSQL, and what it must not take for the same: found as faults in other stores."""

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.columns import LOG_RECORDS, SPANS, TelemetryTable
from storage.rows import Row
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, span_row


@pytest.mark.parametrize(("table", "row"), [(LOG_RECORDS, log_row()), (SPANS, span_row())])
async def test_statements_do_not_grow_with_the_rows(engine: AsyncEngine, table: TelemetryTable, row: Row) -> None:
    """A request of 5,000 records of as many traces takes as many statements as one of a single record."""
    sink = PostgresSink(engine)
    await sink.write([batch_of([row], table)])
    counts = []
    for size in (1, 5_000):
        statements: list[str] = []

        def note(*arguments: object, into: list[str] = statements) -> None:
            into.append(str(arguments[2]))

        event.listen(engine.sync_engine, "before_cursor_execute", note)
        rows = [row._replace(trace_id=n.to_bytes(16), span_id=n) for n in range(1, size + 1)]
        await sink.write([batch_of(rows, table)])
        event.remove(engine.sync_engine, "before_cursor_execute", note)
        counts.append(len(statements))

    assert counts[0] == counts[1]


async def test_spans_of_the_same_id_are_kept(engine: AsyncEngine) -> None:
    """Ids are the sender's: twice the same in two traces, or in one, they are as many spans."""
    spans = [span_row(trace_id=trace, span_id=7, name=name) for trace in (b"a" * 16, b"b" * 16) for name in ("x", "y")]

    await PostgresSink(engine).write([batch_of(spans, SPANS)])

    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT count(*) FROM spans WHERE span_id = 7"))
        assert found.scalar_one() == 4
