"""``make chaos``: the stock SDK sends from four processes while a seeded program breaks everything around it.

In the end all is healed, the spool is drained, and each record is looked for: what was acknowledged is stored exactly
once, what was not at most once, and nothing else is there. The exit code is 1 when one of these does not hold.
"""

import argparse
import asyncio
import sys

from tests import harness
from tests.chaos import disk, faults, report
from tests.chaos.plan import Kind, make_plan
from tests.chaos.stage import Setup, finish, stage
from tests.chaos.verdict import judge

_CALM_END_S = 2.0


async def run(seed: int, seconds: float, setup: Setup) -> bool:
    """Do one run and print it; return whether nothing was wrong."""
    skipped = disk.impossible()
    without = {Kind.POSTGRES_FULL, Kind.SPOOL_FULL} if skipped else set()
    plan = make_plan(seed, seconds, without)
    print(report.plan_text(seed, seconds, plan, skipped), flush=True)
    setup.small_disks = skipped is None
    async with stage(setup) as world:
        await world.start_load(setup.lanes, setup.rate)
        done = await faults.inflict(world, plan)
        await asyncio.sleep(_CALM_END_S)
        await world.heal()
        await world.stop_load()
        await world.drained()
        calls, answers = world.read_journals()
        verdict = judge(calls, await asyncio.to_thread(world.stored))
        ledger = await world.receiver.ledger()
        unexpected = world.receiver.unexpected()
        starts, peak = world.receiver.starts, world.receiver.peak_rss_bytes
    balanced = all(harness.is_balanced(book) for book in ledger.values())
    missing = report.refusals_without_delay(answers)
    print(report.faults_text(done))
    print(report.verdict_text(verdict))
    print(report.answers_text(answers))
    print(report.silences_text(calls))
    print(f"receiver: {starts} starts, peak RSS {peak >> 20} MiB, unexpected errors in its log: {len(unexpected)}")
    print(f"ledger of its last life, {'balanced' if balanced else 'NOT BALANCED'}: {ledger}")
    clean = verdict.clean and balanced and not missing and not unexpected
    print("clean" if clean else "NOT CLEAN", *unexpected[:5], sep="\n  ")
    return clean


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--lanes", type=int, default=2, help="logger and tracer providers in each of the 4 processes")
    parser.add_argument("--rate", type=int, default=60, help="log records a second and lane; half as many spans")
    parser.add_argument("--keep", action="store_true", help="leave the directory with journals and logs")
    options = parser.parse_args()
    setup = Setup(lanes=options.lanes, rate=options.rate, keep=options.keep)
    return finish(run(options.seed, options.seconds, setup))


if __name__ == "__main__":
    sys.exit(main())
