"""A COMMIT whose answer is lost, and then an outage longer than requests are known by their content."""

import asyncio

import pytest

from tests.chaos.frames import Moment
from tests.chaos.proxy import Connection, Stop
from tests.chaos.stage import Setup, Stage, stage
from tests.chaos.verdict import judge

WINDOW_S = 2


class LosesOneAnswer:
    """Lets one COMMIT happen, loses its answer, and takes PostgreSQL away in the same moment."""

    def __init__(self) -> None:
        self.world: Stage | None = None
        self.armed = False
        self.lost = asyncio.Event()

    def stop_at(self, moment: Moment) -> Stop | None:
        """Stop the completion of the first COMMIT once armed."""
        if not self.armed or moment is not Moment.COMMITTED:
            return None
        self.armed = False
        return Stop("before", self._lose)

    def _lose(self, connection: Connection) -> None:
        assert self.world is not None
        connection.abort()
        self.world.link.refuse()
        self.lost.set()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("killed", [False, True])
async def test_what_was_committed_is_not_stored_again_from_the_spool(killed: bool) -> None:
    """Its request is spooled and replayed after the window is over; also when the receiver is killed in between."""
    loses = LosesOneAnswer()
    setup = Setup(lanes=1, stop_at=loses.stop_at, environment={"OTEL_INGEST_DUPLICATE_WINDOW_S": str(WINDOW_S)})
    async with stage(setup) as world:
        loses.world = world
        await world.start_load(setup.lanes, setup.rate)
        loses.armed = True
        async with asyncio.timeout(60):
            await loses.lost.wait()
        await world.returned()
        if killed:
            world.receiver.kill()
            await world.receiver.ended()
            await world.receiver.start()
        await asyncio.sleep(2 * WINDOW_S)
        world.link.resume()
        await world.stop_load()
        await world.drained()
        calls, _ = world.read_journals()
        verdict = judge(calls, world.stored())

    assert verdict.clean, verdict
    assert verdict.acknowledged > 0
