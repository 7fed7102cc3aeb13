"""Who may come in: tokens checked against the store, remembered while PostgreSQL tells us of every change.

A token that was found is known for a minute without asking again; the minute also spaces the writes of
``last_used_at``. Revoking, expiring or making a token announces itself (NOTIFY), and all that was known is forgotten.
While we cannot listen every token is asked for. While PostgreSQL is away what was last known of a token counts: nobody
can revoke one meanwhile either. Unknown tokens are remembered too, by digest and in bounded
number, and text that cannot be a token is refused without a question: a flood of guesses costs little and displaces no
one who was let in.
"""

import asyncio
import contextlib
import hashlib
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import tokens
from storage.config import StorageConfig
from storage.engine import psycopg_url
from storage.errors import RetryableStoreError, StoreError
from storage.tokens import Token

_log = structlog.get_logger(__name__)

CHANNEL = "otel_ingest_tokens"

KNOWN_S = 60.0
KNOWN_MAX = 10_000
UNKNOWN_S = 10.0
UNKNOWN_MAX = 10_000
# Checks wait for one connection; past this many a flood is under way, and those who wait could not be answered in time.
_WAITING_MAX = 200
_PING_S = 5.0
_ANSWER_S = 5.0
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Entry:
    token: Token | None
    until: float
    ends: float = math.inf
    """When the token itself ends."""


class TokenGate:
    """Checks tokens for one process; ``start`` before, ``close`` after."""

    def __init__(self, engine: AsyncEngine, config: StorageConfig, is_away: Callable[[], bool] = lambda: False) -> None:
        """Take the write side's engine for questions and its configuration for a connection that listens.

        ``is_away``: whether the store is known to be away, so that asking it would be waiting for nothing.
        """
        self._is_away = is_away
        self._engine = engine
        self._config = config
        self._known: OrderedDict[bytes, _Entry] = OrderedDict()
        self._unknown: OrderedDict[bytes, _Entry] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Token | None]] = {}
        self._turn = asyncio.Semaphore(1)
        self._generation = 0
        self._listening = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen for changes; until that works every token is looked up each time."""
        self._task = asyncio.create_task(self._listen_on())

    async def close(self) -> None:
        """Stop listening."""
        for task in [self._task, *self._asking.values()]:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, StoreError):
                    await task

    async def verify(self, plaintext: str) -> Token | None:
        """Return the token when it is known, not expired and not revoked. Raises StoreError: it cannot be told now."""
        if not tokens.is_well_formed(plaintext):
            return None
        digest = hashlib.sha256(plaintext.encode()).digest()
        for memory in (self._known, self._unknown):
            entry = memory.get(digest)
            if entry is not None and self._listening and entry.until > monotonic():
                memory.move_to_end(digest)
                return entry.token
        last = self._last_known(digest)
        if last is not None and self._is_away():
            return last
        try:
            return await self._asked_for(plaintext, digest)
        except StoreError:
            if last is None:
                raise
            return last

    def _last_known(self, digest: bytes) -> Token | None:
        entry = self._known.get(digest)
        return entry.token if entry is not None and entry.ends > monotonic() else None

    async def _asked_for(self, plaintext: str, digest: bytes) -> Token | None:
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= _WAITING_MAX:
                raise RetryableStoreError("too many tokens are being checked")
            task = self._asking[digest] = asyncio.create_task(self._ask(plaintext, digest))
            task.add_done_callback(lambda done: self._asked(digest, done))
        # One that stops waiting does not take the question from the others.
        return await asyncio.shield(task)

    async def _ask(self, plaintext: str, digest: bytes) -> Token | None:
        async with self._turn:
            generation = self._generation
            token, valid_s = await tokens.find(self._engine, plaintext)
        if generation != self._generation:
            return token  # what was told before a change is not remembered after it
        if token is None:
            self._known.pop(digest, None)
            _remember(self._unknown, digest, _Entry(None, monotonic() + UNKNOWN_S), UNKNOWN_MAX)
        else:
            ends = math.inf if valid_s is None else monotonic() + valid_s
            _remember(self._known, digest, _Entry(token, min(monotonic() + KNOWN_S, ends), ends), KNOWN_MAX)
        return token

    def _asked(self, digest: bytes, done: "asyncio.Task[Token | None]") -> None:
        self._asking.pop(digest, None)
        if not done.cancelled():
            done.exception()  # nobody may be waiting for it any more

    def _forget(self) -> None:
        self._generation += 1
        self._known.clear()
        self._unknown.clear()

    async def _listen_on(self) -> None:
        """Listen for as long as this process lives, over lost connections."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, SQLAlchemyError, OSError, TimeoutError) as error:
                if self._listening:
                    _log.warning("not told of token changes now: every token is looked up", reason=type(error).__name__)
            finally:
                self._listening = False
            await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        """Listen on one connection until it breaks. Raises psycopg.Error, SQLAlchemyError, OSError, TimeoutError."""
        url = psycopg_url(self._config.url).set(drivername="postgresql").render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=self._config.connect_timeout_s, application_name="otel-ingest tokens"
        ) as connection:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            await self._prove(connection)
            self._forget()
            self._listening = True
            while True:
                async for _ in connection.notifies(timeout=_PING_S, stop_after=1):
                    self._forget()
                async with asyncio.timeout(_ANSWER_S):
                    await connection.execute("SELECT 1")

    async def _prove(self, connection: "psycopg.AsyncConnection[tuple[object, ...]]") -> None:
        """See that an announcement of another connection arrives: a pooler may take LISTEN and never deliver."""
        nonce = secrets.token_hex(8)
        async with self._engine.begin() as other:
            await other.execute(text("SELECT pg_notify(:channel, :nonce)"), {"channel": CHANNEL, "nonce": nonce})
        async for notice in connection.notifies(timeout=_ANSWER_S):
            if notice.payload == nonce:
                return
        raise TimeoutError


def _remember(memory: "OrderedDict[bytes, _Entry]", digest: bytes, entry: _Entry, at_most: int) -> None:
    """Keep an entry; what was not used for longest goes first."""
    memory[digest] = entry
    memory.move_to_end(digest)
    while len(memory) > at_most:
        memory.popitem(last=False)
