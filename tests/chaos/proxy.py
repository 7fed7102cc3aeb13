"""A TCP proxy on loopback that can be cut, stalled, and told to stop at a moment of what passes it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.chaos.frames import Moment, Splitter, Unsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
When = Literal["before", "inside", "after"]

_CHUNK_BYTES = 64 * 1024


@dataclass(eq=False, slots=True)
class Connection:
    """One client's connection and ours to the server behind."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def abort(self) -> None:
        """End both sides at once; what was not sent is gone."""
        for writer in self.writers:
            writer.transport.abort()


@dataclass(slots=True)
class Stop:
    """Where one message is to be stopped: how much of it is let through first, and what happens then."""

    when: When
    act: Callable[[Connection], None]


class Proxy:
    """Forwards to ``connect()``. ``stop_at`` is asked about each moment and says whether to stop there."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Streams]],
        *,
        requests: type[Splitter] = Unsplit,
        answers: type[Splitter] = Unsplit,
        stop_at: Callable[[Moment], Stop | None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._splitters = (requests, answers)
        self._stop_at = stop_at
        self._away = False
        self._requests_flow, self._answers_flow = asyncio.Event(), asyncio.Event()
        self.resume()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, end all connections."""
        if self._server is not None:
            self._server.close()
        self.cut()
        self.resume()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> int:
        """End all connections now, both sides; return how many there were."""
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        return len(connections)

    def refuse(self) -> None:
        """End all connections and take no new one until ``resume``: for the client the server is away."""
        self._away = True
        self.cut()

    def stall(self) -> None:
        """Let nothing pass, connections stay; new ones are taken and stall too."""
        self._requests_flow.clear()
        self._answers_flow.clear()

    def withhold_answers(self) -> None:
        """Let requests pass and no answer: what the server does then, the client does not learn."""
        self._answers_flow.clear()

    def resume(self) -> None:
        """Let it pass again."""
        self._away = False
        self._requests_flow.set()
        self._answers_flow.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            return
        await self._requests_flow.wait()
        server_reader, server_writer = await self._connect()
        connection = Connection((writer, server_writer))
        self._connections.add(connection)
        requests, answers = self._splitters
        pumps = [
            asyncio.create_task(self._pump((reader, server_writer), requests(), connection, self._requests_flow)),
            asyncio.create_task(self._pump((server_reader, writer), answers(), connection, self._answers_flow)),
        ]
        try:
            # One side that ends ends the other: neither protocol here knows half-closed connections.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.discard(connection)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for side in connection.writers:
                with contextlib.suppress(OSError):
                    side.close()

    async def _pump(self, streams: Streams, splitter: Splitter, connection: Connection, flowing: asyncio.Event) -> None:
        reader, writer = streams
        # No buffer of ours: what was let through is with the kernel when the next line runs.
        writer.transport.set_write_buffer_limits(0)
        while data := await reader.read(_CHUNK_BYTES):
            await flowing.wait()
            for message, moment in splitter.feed(data):
                stop = self._stop_at(moment) if moment is not None else None
                if stop is None:
                    writer.write(message)
                    continue
                let_through = {"before": 0, "inside": len(message) // 2, "after": len(message)}[stop.when]
                writer.write(message[:let_through])
                await writer.drain()
                stop.act(connection)
                if stop.when != "after":
                    # The rest of a message that was stopped never arrives.
                    connection.abort()
                    return
            await writer.drain()
