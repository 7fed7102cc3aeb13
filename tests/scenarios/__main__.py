"""``make scenarios``: the table of what each policy cost and found, on a PostgreSQL of its own."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from storage import embedded, migrate
from storage.config import StorageConfig
from storage.engine import write_engine
from tests.scenarios.run import Outcome, follow, plant
from tests.scenarios.table import CALLS_MAX, FOLLOW_THE_NOISE, SCENARIOS, TOKENS_MAX


async def _one(url: str, number: int) -> tuple[Outcome, Outcome]:
    name = f"scenario_{number}"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    own = url.replace("+psycopg", "").replace("/otel_ingest?", f"/{name}?")
    await migrate.upgrade(own)
    engine = write_engine(StorageConfig(own))
    try:
        await plant(engine, SCENARIOS[number])
        found = await follow(engine, SCENARIOS[number])
        return found, await follow(engine, SCENARIOS[number], FOLLOW_THE_NOISE)
    finally:
        await engine.dispose()


async def main() -> int:
    """Print the table; return how many causes were not found."""
    data_dir = Path(tempfile.mkdtemp(prefix="oi-"))
    server = await embedded.start(data_dir)
    lost = 0
    print(f"| {'scenario':30} | calls (≤{CALLS_MAX}) | tokens (≤{TOKENS_MAX:,}) | cause found | by the loudest error |")
    print(f"|{'-' * 32}|{'-' * 12}|{'-' * 18}|{'-' * 13}|{'-' * 22}|")
    try:
        for number, scenario in enumerate(SCENARIOS):
            outcome, astray = await _one(server.url, number)
            lost += not outcome.found or not astray.missing
            by_noise = "not found" if astray.missing else "found"
            verdict = "yes" if outcome.found else f"no: {outcome.missing or outcome.distracted}"
            row = f"{scenario.name:30} | {outcome.calls:10} | {outcome.tokens:16,} | {verdict:11} | {by_noise:20}"
            print(f"| {row} |", flush=True)
    finally:
        await server.stop()
        shutil.rmtree(server.cluster.pgdata.resolve().parent, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)
    return lost


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
