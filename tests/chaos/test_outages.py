"""The stock Python SDK gives up after 10 s: without any spool, outages of PostgreSQL of up to 5 s cost it nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.journal import Answer
from tests.chaos.stage import PROCESSES, Setup, Stage, stage
from tests.chaos.verdict import Call, judge, spans_of

OUTAGE_S = 5.0
_START_S = 1.5  # of these, where PostgreSQL has to start again: it reads its log

End = Callable[[], Awaitable[None] | None]
"""Ends an outage."""


def refuse(world: Stage) -> End:
    """Cut all connections and refuse new ones."""
    world.link.refuse()
    return world.link.resume


def stall(world: Stage) -> End:
    """Let nothing pass in either direction: packets are lost, connections stay."""
    world.link.stall()
    return world.link.resume


def freeze(world: Stage) -> End:
    """Stop every process of PostgreSQL where it is."""
    world.database.freeze()
    return world.database.thaw


def stop(world: Stage) -> End:
    """Stop PostgreSQL without a checkpoint."""
    world.database.stop_immediate()
    return world.database.start


def told(failed: list[Call], calls: list[Call], answers: list[Answer]) -> str:
    """Return what was answered to exports that failed, in seconds after the first."""
    first = calls[0].began_s
    lines = []
    for call in failed:
        ended_s = call.ended_s or call.began_s + 30
        lines.append(f"{spans_of(call.records)}: {call.result}, {call.began_s - first:.1f} to {ended_s - first:.1f} s")
        transport = PROCESSES[int(call.records[0][0].split("-")[1])]
        own = [a for a in answers if a.transport == transport and call.began_s <= a.at_s <= ended_s]
        lines += [f"  {a.at_s - first:.1f} s {a.transport} {a.code} delay {a.delay}: {a.detail}" for a in own]
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_the_stock_sdk_loses_nothing_in_outages_of_5_s_without_the_spool() -> None:
    """Refused, stalled, frozen and stopped for 5 s each: every export returns SUCCESS, each record is stored once."""
    setup = Setup(environment={"OTEL_INGEST_SPOOL_BYTES_MAX": "0"})
    async with stage(setup) as world:
        await world.start_load(setup.lanes, setup.rate)
        for outage in (refuse, stall, freeze, stop):
            end = outage(world)
            await asyncio.sleep(OUTAGE_S - _START_S if outage is stop else OUTAGE_S)
            if (ending := end()) is not None:
                await ending
            await world.returned()
        await world.stop_load()
        calls, answers = world.read_journals()
        verdict = judge(calls, world.stored())

    failed = [call for call in calls if not call.acknowledged]
    assert not failed, told(failed, calls, answers)
    assert verdict.clean, verdict
    assert verdict.stored == verdict.sent > 0
