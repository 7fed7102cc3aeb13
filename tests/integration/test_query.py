"""PostgreSQL finds what a query means, over random stores and random queries."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.config import StorageConfig
from storage.engine import write_engine
from storage.filters import LogQuery, TraceQuery, all_of, log_conditions, trace_conditions
from storage.mapping import us_of
from storage.models import log_records, spans
from storage.query.tree import Node
from storage.reading.common import LOGS, SPANS
from storage.sink import PostgresSink
from tests.query_world import (
    START_US,
    Record,
    holds,
    log_queries,
    log_worlds,
    logs_of,
    span_queries,
    span_worlds,
    spans_of,
)

EXAMPLES = 40
QUERIES = 8
WORLDS: dict[str, Any] = {"logs": log_worlds, "spans": span_worlds}
NODES: dict[str, Any] = {"logs": log_queries, "spans": span_queries}


async def found(engine: AsyncEngine, signal: str, world: list[Record], nodes: list[Node]) -> list[list[int]]:
    """Store a world in an empty table; return the positions that each query finds."""
    table, source = (log_records, LOGS) if signal == "logs" else (spans, SPANS)
    async with engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {table.name}"))
    (outcome,) = await PostgresSink(engine).write([logs_of(world) if signal == "logs" else spans_of(world)])
    assert not outcome.rejected
    answers = []
    async with engine.connect() as connection:
        for node in nodes:
            parts = (
                log_conditions(LogQuery(query=node)) if signal == "logs" else trace_conditions(TraceQuery(query=node))
            )
            statement = select(table.c.time).select_from(source).where(all_of(parts)).order_by(table.c.time)
            answers.append([us_of(time) - START_US for time in (await connection.execute(statement)).scalars()])
    return answers


@pytest.mark.parametrize("signal", ["logs", "spans"])
def test_postgresql_finds_what_python_finds(database_url: str, signal: str) -> None:
    """The answer of the store is that of plain Python, record by record."""
    runner = asyncio.Runner()
    engine = write_engine(StorageConfig(database_url))
    counted = {"records": 0, "found": 0}

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(WORLDS[signal], st.lists(NODES[signal], min_size=QUERIES, max_size=QUERIES))
    def agree(world: list[Record], nodes: list[Node]) -> None:
        answers = runner.run(found(engine, signal, world, nodes))
        for node, positions in zip(nodes, answers, strict=True):
            # A search for traces asks for spans that belong to one.
            seen = [n for n, r in enumerate(world) if holds(node, r) and (signal == "logs" or r.fields["trace"])]
            assert positions == seen, node
            counted["records"] += len(world)
            counted["found"] += len(seen)

    with runner:
        try:
            agree()
        finally:
            runner.run(engine.dispose())
    assert 0 < counted["found"] < counted["records"]
