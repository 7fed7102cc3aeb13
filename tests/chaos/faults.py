"""Does the faults of a plan to a stage: one task for each target, its faults one after the other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from tests.chaos.plan import MIX, Fault, Kind, Target
from tests.chaos.stage import Stage


@dataclass(frozen=True, slots=True)
class Done:
    """A fault as it was: begun and healed (everything started again), in seconds after the load began."""

    fault: Fault
    began_s: float
    healed_s: float


async def inflict(stage: Stage, faults: Sequence[Fault]) -> list[Done]:
    """Do all faults at their times; return when each began and was over."""
    began = asyncio.get_running_loop().time()
    done: list[Done] = []
    async with asyncio.TaskGroup() as group:
        for target in Target:
            own = [fault for fault in faults if MIX[fault.kind].target is target]
            group.create_task(_in_turn(stage, own, began, done))
    return sorted(done, key=lambda entry: entry.began_s)


async def _in_turn(stage: Stage, faults: Sequence[Fault], began: float, done: list[Done]) -> None:
    loop = asyncio.get_running_loop()
    for fault in faults:
        await asyncio.sleep(max(0.0, began + fault.at_s - loop.time()))
        since = loop.time() - began
        await _do(stage, fault)
        done.append(Done(fault, since, loop.time() - began))


async def _do(stage: Stage, fault: Fault) -> None:
    """Do one fault, wait its time, and heal it."""
    match fault.kind:
        case Kind.RECEIVER_KILL | Kind.RECEIVER_FREEZE:
            await _receiver(stage, fault)
        case Kind.POSTGRES_KILL | Kind.POSTGRES_IMMEDIATE | Kind.POSTGRES_FREEZE:
            await _postgres(stage, fault)
        case Kind.POSTGRES_READ_ONLY:
            await stage.database.set_read_only(on=True)
            await asyncio.sleep(fault.lasts_s)
            await stage.database.set_read_only(on=False)
        case Kind.POSTGRES_LOCKED:
            async with stage.database.locked():
                await asyncio.sleep(fault.lasts_s)
        case Kind.POSTGRES_FULL:
            assert stage.database.disk is not None
            stage.database.disk.fill()
            await asyncio.sleep(fault.lasts_s)
            stage.database.disk.free()
            await _running(stage)
        case Kind.SPOOL_FULL:
            assert stage.spool_disk is not None
            stage.database.stop_immediate()
            stage.spool_disk.fill()
            await asyncio.sleep(fault.lasts_s)
            stage.spool_disk.free()
            await stage.database.start()
        case Kind.CUT:
            stage.link.cut()
        case Kind.STALL:
            stage.link.stall()
            await asyncio.sleep(fault.lasts_s)
            stage.link.resume()
        case Kind.LOST_ANSWERS:
            stage.link.withhold_answers()
            await asyncio.sleep(fault.lasts_s)
            stage.link.cut()
            stage.link.resume()
        case _:
            assert_never(fault.kind)


async def _receiver(stage: Stage, fault: Fault) -> None:
    if fault.kind is Kind.RECEIVER_FREEZE:
        stage.receiver.freeze()
        await asyncio.sleep(fault.lasts_s)
        stage.receiver.thaw()
        return
    stage.receiver.kill()
    await stage.receiver.ended()
    await asyncio.sleep(fault.lasts_s)
    await stage.receiver.start()


async def _postgres(stage: Stage, fault: Fault) -> None:
    if fault.kind is Kind.POSTGRES_FREEZE:
        stage.database.freeze()
        await asyncio.sleep(fault.lasts_s)
        stage.database.thaw()
        return
    if fault.kind is Kind.POSTGRES_KILL:
        stage.database.kill()
    else:
        stage.database.stop_immediate()
    await asyncio.sleep(fault.lasts_s)
    await stage.database.start()


async def _running(stage: Stage) -> None:
    """Start PostgreSQL where a full disk has ended it, as its supervisor would."""
    if not stage.database.is_running():
        await stage.database.start()
