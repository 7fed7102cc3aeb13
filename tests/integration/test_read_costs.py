"""What makes questions quick changes no answer: looked-up resources and the walk of the newest spans."""

import random

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.columns import SPANS
from storage.filters import LogQuery, TraceQuery, log_conditions
from storage.models import log_records
from storage.query.reading import parse
from storage.reader import Reader
from storage.reading import resolving, search
from storage.rows import ResourceRow
from storage.sink import PostgresSink
from tests.factories import RESOURCE, batch_of, log_row, now_us, span_row

OTHER = ResourceRow(b"o" * 16, "shop", b'{"service.name":"shop","k8s.pod.name":"shop-2"}', 0, "", None)


async def walk(reader: Reader, query: TraceQuery) -> list[str]:
    """Return the trace ids of all pages, in order."""
    found: list[str] = []
    cursor = None
    for _ in range(100):
        fields = {name: getattr(query, name) for name in query.__slots__} | {"cursor": cursor}
        page = await reader.find_traces(TraceQuery(**fields))
        found += [summary.trace_id for summary in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("spans_max", [1, 12, 2_000])
async def test_the_newest_traces_are_the_same_by_a_walk_and_by_groups(
    engine: AsyncEngine, spans_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces that overlap in time, and times that are the same: each once, in one order, on whatever page."""
    chance = random.Random(4)  # noqa: S311
    at = now_us()
    spans = [
        span_row(
            time=at - chance.randrange(20),
            trace_id=bytes([chance.randrange(1, 30)]) * 16,
            span_id=n + 1,
            component=chance.choice("ab"),
        )
        for n in range(200)
    ]
    await PostgresSink(engine).write([batch_of(spans, SPANS)])
    reader = Reader(engine)
    monkeypatch.setattr(search, "_SPANS_MAX", spans_max)
    for query in (TraceQuery(limit=4), TraceQuery(limit=7, component="a")):
        walked = await walk(reader, query)
        with monkeypatch.context() as patch:

            async def none(*_: object) -> None:
                return None

            patch.setattr(search, "_newest", none)
            assert walked == await walk(reader, query)
        assert len(walked) == len(set(walked)) == (await reader.find_traces(query)).matched


@pytest.mark.parametrize("ids_max", [0, 1_000])
async def test_resources_are_looked_up_first(
    engine: AsyncEngine, ids_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a few ids, by many, by none: what a record or its resource has is found, and negations hold for the rest."""
    batch = batch_of([log_row(body="1"), log_row(body="2", resource_id=OTHER.id)])
    batch.resources[OTHER.id] = OTHER
    await PostgresSink(engine).write([batch, batch_of([log_row(body="3", attributes=b'{"k8s.pod.name":"shop-2"}')])])
    monkeypatch.setattr(resolving, "_IDS_MAX", ids_max)
    reader = Reader(engine)

    async def bodies(query: LogQuery) -> set[str | None]:
        return {entry.body for entry in (await reader.find_logs(query)).items}

    assert await bodies(LogQuery(attributes={"k8s.pod.name": "shop-2"})) == {"2", "3"}
    assert await bodies(LogQuery(attributes={"service.name": "shop"})) == {"1", "2", "3"}
    assert await bodies(LogQuery(attributes={"service.name": "none"})) == set()
    assert await bodies(LogQuery(query=parse("NOT k8s.pod.name:shop-2", "logs"))) == {"1"}
    async with engine.connect() as connection:
        asked = log_conditions(LogQuery(attributes={"service.name": "shop"}))
        [condition] = await resolving.resolved(connection, log_records, asked)
    assert "resources.attributes" not in str(condition) or ids_max == 0
    assert RESOURCE.id
