"""``make killpoints``: kills at exact points of a request, chosen by a seed, while the stock SDK sends and retries.

Two proxies read what passes: the one before PostgreSQL knows COPY, its data, COMMIT and their completions, the one
before the receiver knows the answer. At a point the message is let through not at all, by half, or whole, and in that
instant the receiver, PostgreSQL or the connection is killed. The product has no hook for any of this.
"""

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import get_args

from tests.chaos import report
from tests.chaos.frames import Moment
from tests.chaos.proxy import Connection, Stop, When
from tests.chaos.stage import Setup, Stage, finish, stage
from tests.chaos.verdict import judge

# A message of the armed kind passes several times a second, but on a busy machine recovery may take long.
_REACHED_WITHIN_S = 60.0
_PASSED_OVER_MAX = 6


class Victim(StrEnum):
    """What is killed at a point."""

    RECEIVER = "receiver -9"
    BACKENDS = "PostgreSQL's backends -9"
    POSTGRES = "all of PostgreSQL -9"
    CONNECTION = "this connection"
    SPOOLING_RECEIVER = "receiver -9 while PostgreSQL is away"


# Without PostgreSQL only the answer passes a proxy: it is sent once the request is in the spool.
COMBINATIONS: list[tuple[Moment, When, Victim]] = [
    (moment, when, victim)
    for moment, when, victim in product(Moment, get_args(When), Victim)
    if victim is not Victim.SPOOLING_RECEIVER or moment is Moment.ANSWER
]


@dataclass(frozen=True, slots=True)
class Point:
    """One kill: at the message of ``moment`` after ``pass_over`` others of its kind."""

    number: int
    moment: Moment
    when: When
    victim: Victim
    pass_over: int

    def __str__(self) -> str:
        return f"{self.number:4d}  {self.when:6s} {self.moment}: {self.victim} (passing {self.pass_over} over)"


def draw(seed: int, count: int) -> list[Point]:
    """PURE: return ``count`` points; each combination comes once before any comes again."""
    rng = random.Random(seed)  # noqa: S311 - repeatable is the point
    combinations: list[tuple[Moment, When, Victim]] = []
    points: list[Point] = []
    while len(points) < count:
        if not combinations:
            combinations = COMBINATIONS.copy()
            rng.shuffle(combinations)
        points.append(Point(len(points) + 1, *combinations.pop(), rng.randint(0, _PASSED_OVER_MAX)))
    return points


class Trap:
    """Waits in the proxies for the moment of the armed point."""

    def __init__(self) -> None:
        self.world: Stage | None = None
        self._point: Point | None = None
        self._left = 0
        self._sprung = asyncio.Event()

    async def spring(self, point: Point) -> bool:
        """Arm ``point`` and wait until it was reached; False: it was not in time."""
        self._left = point.pass_over
        self._sprung.clear()
        self._point = point
        try:
            async with asyncio.timeout(_REACHED_WITHIN_S):
                await self._sprung.wait()
        except TimeoutError:
            self._point = None
            return False
        return True

    def stop_at(self, moment: Moment) -> Stop | None:
        """Say whether to stop at this message (a proxy asks)."""
        point = self._point
        if point is None or moment is not point.moment:
            return None
        if self._left:
            self._left -= 1
            return None
        self._point = None
        return Stop(point.when, lambda connection: self._kill(point, connection))

    def _kill(self, point: Point, connection: Connection) -> None:
        assert self.world is not None
        match point.victim:
            case Victim.RECEIVER | Victim.SPOOLING_RECEIVER:
                self.world.receiver.kill()
            case Victim.BACKENDS:
                self.world.database.kill_backends()
            case Victim.POSTGRES:
                self.world.database.kill()
            case Victim.CONNECTION:
                connection.abort()
        self._sprung.set()


async def reach(world: Stage, trap: Trap, point: Point) -> bool:
    """Kill at ``point`` and start again what was killed; False: it was not reached in time."""
    if point.victim is Victim.SPOOLING_RECEIVER:
        world.database.stop_immediate()
    reached = await trap.spring(point)
    if reached and point.victim in {Victim.RECEIVER, Victim.SPOOLING_RECEIVER}:
        await world.receiver.ended()
        await world.receiver.start()
    # What was killed this instant may still look alive: it is started again without asking.
    if point.victim is Victim.SPOOLING_RECEIVER or (reached and point.victim is Victim.POSTGRES):
        await world.database.start()
    return reached


async def run(seed: int, count: int, setup: Setup) -> bool:
    """Reach ``count`` points and print what became of the records; return whether nothing was wrong."""
    trap = Trap()
    setup.stop_at = trap.stop_at
    print(f"seed {seed}, {count} points", flush=True)
    missed: list[Point] = []
    async with stage(setup) as world:
        trap.world = world
        await world.start_load(setup.lanes, setup.rate)
        began = time.monotonic()
        for point in draw(seed, count):
            if await reach(world, trap, point):
                print(f"{time.time():.3f} {point}", flush=True)
            else:
                missed.append(point)
        minutes = (time.monotonic() - began) / 60
        await world.heal()
        await world.stop_load()
        await world.drained()
        calls, answers = world.read_journals()
        verdict = judge(calls, await asyncio.to_thread(world.stored))
        unexpected = world.receiver.unexpected()
        starts = world.receiver.starts
    missing = report.refusals_without_delay(answers)
    reached = count - len(missed)
    print(f"{reached} points reached in {minutes:.1f} min ({reached / minutes:.0f}/min), {starts - 1} restarts")
    for point in missed:
        print(f"not reached: {point}")
    print(report.verdict_text(verdict))
    print(report.answers_text(answers))
    print(report.silences_text(calls))
    print(f"unexpected errors in the receiver's log: {len(unexpected)}", *unexpected[:5], sep="\n  ")
    clean = verdict.clean and not missing and not unexpected and not missed
    print("clean" if clean else "NOT CLEAN")
    return clean


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.killpoints", description=__doc__)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=3, help="logger and tracer providers in each of the 4 processes")
    parser.add_argument("--rate", type=int, default=20, help="log records a second and lane; half as many spans")
    parser.add_argument("--keep", action="store_true", help="leave the directory with journals and logs")
    options = parser.parse_args()
    setup = Setup(lanes=options.lanes, rate=options.rate, keep=options.keep)
    return finish(run(options.seed, options.points, setup))


if __name__ == "__main__":
    sys.exit(main())
