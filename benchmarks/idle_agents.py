"""What idle agents cost a receiver whose polls it holds, beside as many that poll every 30 s: `make idle-agents`.

One `otel-ingest up`, N agents (--agents, 1,000) as connections of this process; per way --seconds (60) of CPU and the
memory of the server's Python and of PostgreSQL; then one level is set, and the time until all of them have said that
they applied it. The answer is a table.
"""

import argparse
import asyncio
import json
import tempfile
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from opentelemetry._opamp.proto import opamp_pb2

from benchmarks.processes import Usage, parent_of, usage_of
from tests import harness

WAIT_S = 25


@dataclass
class Agent:
    """One idle process: describes itself, then asks and asks; held, or every 30 s."""

    host: str
    port: int
    held: bool
    uid: bytes = field(default_factory=lambda: uuid4().bytes)
    applied_at: float | None = None
    at_once: int = 0
    refused: int = 0

    async def run(self, start_s: float) -> None:
        """Talk until it is cancelled."""
        await asyncio.sleep(start_s)
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            who = opamp_pb2.AgentToServer(instance_uid=self.uid)
            who.agent_description.identifying_attributes.add(key="service.name").value.string_value = "crowd"
            await self._exchange(reader, writer, who, wait=False)
            while True:
                began = time.monotonic()
                answer = await self._exchange(
                    reader, writer, opamp_pb2.AgentToServer(instance_uid=self.uid), wait=self.held
                )
                if answer.HasField("remote_config"):
                    await self._acknowledge(reader, writer, answer.remote_config.config_hash)
                elif not self.held:
                    await asyncio.sleep(30)
                elif time.monotonic() - began < 1:
                    self.at_once += 1
                    await asyncio.sleep(30)
        finally:
            writer.close()

    async def _acknowledge(self, reader: Any, writer: Any, config_hash: bytes) -> None:
        status = opamp_pb2.AgentToServer(instance_uid=self.uid)
        status.remote_config_status.last_remote_config_hash = config_hash
        status.remote_config_status.status = opamp_pb2.RemoteConfigStatuses_APPLIED
        await self._exchange(reader, writer, status, wait=False)
        self.applied_at = time.monotonic()

    async def _exchange(self, reader: Any, writer: Any, message: Any, *, wait: bool) -> Any:
        body = message.SerializeToString()
        prefer = f"Prefer: wait={WAIT_S}\r\n" if wait else ""
        head = f"POST /v1/opamp HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n{prefer}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        content = await reader.readexactly(int(answer.partition("content-length:")[2].split()[0]))
        if not answer.startswith("http/1.1 200"):
            self.refused += 1
            await asyncio.sleep(2)
            return await self._exchange(reader, writer, message, wait=wait)
        return opamp_pb2.ServerToAgent.FromString(content)


async def _measured(server: harness.Server, count: int, seconds: float, *, held: bool) -> list[float]:
    """Print what ``seconds`` with all agents there took; return when each had applied a level, in s, in order."""
    host, _, port = server.http.rpartition(":")
    agents = [Agent(host, int(port), held) for _ in range(count)]
    tasks = [asyncio.create_task(a.run(10 * i / max(1, count))) for i, a in enumerate(agents)]
    await asyncio.sleep(15)
    with server.sql() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        postmaster = parent_of(int(str(cursor.fetchone()[0])))  # type: ignore[index]
    before = [usage_of(pid) for pid in (server.process.pid, postmaster)]
    await asyncio.sleep(seconds)
    after = [usage_of(pid) for pid in (server.process.pid, postmaster)]
    _print(count, seconds, before, after, held=held)
    times: list[float] = []
    if count and held:
        began = time.monotonic()
        answer = await asyncio.to_thread(_set_level, server)
        print(f"  the tool, after {time.monotonic() - began:.1f} s: {answer['summary']}", flush=True)
        while any(a.applied_at is None for a in agents) and time.monotonic() < began + 60:  # noqa: ASYNC110 - a thousand tasks set it
            await asyncio.sleep(0.05)
        times = sorted(a.applied_at - began for a in agents if a.applied_at is not None)
        at_once, refused = sum(a.at_once for a in agents), sum(a.refused for a in agents)
        print(f"  answered at once although asked to wait: {at_once}; refused for now: {refused}", flush=True)
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    return times


def _print(count: int, seconds: float, before: list[Usage], after: list[Usage], *, held: bool) -> None:
    ours, postgres = (100 * (a.cpu_s - b.cpu_s) / seconds for a, b in zip(after, before, strict=True))
    print(
        f"{count:5} agents {'held   ' if held else 'polling'}: otel-ingest {ours:5.1f} % of a core, "
        f"{after[0].resident_bytes / 1e6:6.1f} MB; PostgreSQL {postgres:5.1f} %",
        flush=True,
    )


def _set_level(server: harness.Server) -> Any:
    body = {"component": "crowd", "level": "debug", "ttl": "10m", "reason": "benchmark"}
    request = urllib.request.Request(f"http://{server.query}/api/v1/levels", json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {server.token('admin')}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    for count, held in ((0, False), (args.agents, False), (args.agents, True)):
        with tempfile.TemporaryDirectory() as directory, harness.running(Path(directory) / "data") as server:
            times = asyncio.run(_measured(server, count, args.seconds, held=held))
        if times:
            half = times[len(times) // 2]
            print(f"  applied by {len(times)}: first {times[0]:.2f} s, half {half:.2f}, last {times[-1]:.2f}")


if __name__ == "__main__":
    main()
