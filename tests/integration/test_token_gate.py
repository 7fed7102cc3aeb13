"""Tokens in a running process: revoked at once, remembered only while changes are told, floods bounded."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import token_gate, tokens
from storage.config import StorageConfig
from storage.errors import RetryableStoreError
from storage.token_gate import TokenGate


class Asked:
    """Counts the questions that an engine asks PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.count = 0
        event.listen(engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.count += "otel_ingest_find_token" in statement


async def until(condition: Callable[[], object]) -> None:
    """Wait, bounded, until ``condition()`` holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def gate(engine: AsyncEngine, database_url: str) -> AsyncIterator[TokenGate]:
    """Yield a gate that listens."""
    gate = TokenGate(engine, StorageConfig(database_url))
    await gate.start()
    await until(lambda: gate._listening)
    yield gate
    await gate.close()


async def test_a_known_token_is_not_asked_for_again(gate: TokenGate, engine: AsyncEngine) -> None:
    """A thousand requests, one question and one write."""
    plaintext, _ = await tokens.create(engine, "agent", "ingest")
    await asyncio.sleep(0)
    asked = Asked(engine)
    assert all([(await gate.verify(plaintext)) is not None for _ in range(1_000)])

    assert asked.count <= 2  # the announcement of its making may come in between
    assert (await tokens.list_tokens(engine))[0].last_used_at is not None


async def test_revoking_is_seen_at_once(gate: TokenGate, engine: AsyncEngine, database_url: str) -> None:
    """By another process's connection: the gate is told, and no request after that passes. Again for every token."""
    other = TokenGate(engine, StorageConfig(database_url))
    await other.start()
    await until(lambda: other._listening)
    for n in range(20):
        plaintext, made = await tokens.create(engine, f"agent {n}", "ingest")
        assert await gate.verify(plaintext) is not None
        assert await other.verify(plaintext) is not None
        before = gate._generation, other._generation
        assert await tokens.revoke(engine, str(made.id)) == 1
        await until(lambda b=before: gate._generation > b[0] and other._generation > b[1])
        assert await gate.verify(plaintext) is None
        assert await other.verify(plaintext) is None
    await other.close()


async def test_an_answer_of_before_a_change_is_not_remembered(gate: TokenGate, engine: AsyncEngine) -> None:
    """The question is under way when the token is revoked: its answer is for those who asked, and for nobody later."""
    plaintext, made = await tokens.create(engine, "agent", "ingest")
    await until(lambda: gate._generation >= 2)
    async with gate._turn:
        asking = asyncio.create_task(gate.verify(plaintext))
        await asyncio.sleep(0)
    assert await asking is not None
    gate._known.clear()

    real = tokens.find

    async def slow(engine: AsyncEngine, text: str) -> object:
        answer = await real(engine, text)
        before = gate._generation
        await tokens.revoke(engine, str(made.id))
        await until(lambda: gate._generation > before)
        return answer

    tokens.find = slow
    try:
        await gate.verify(plaintext)
    finally:
        tokens.find = real
    assert await gate.verify(plaintext) is None


async def test_a_token_that_ends_is_not_remembered_longer(gate: TokenGate, engine: AsyncEngine) -> None:
    """Its end is the end of the memory."""
    soon = datetime.now(UTC) + timedelta(seconds=0.6)
    plaintext, _ = await tokens.create(engine, "agent", "ingest", soon)
    assert await gate.verify(plaintext) is not None
    async with asyncio.timeout(20):
        while await gate.verify(plaintext) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_without_news_nothing_is_remembered(gate: TokenGate, engine: AsyncEngine, database_url: str) -> None:
    """The listening connection is cut: each request is a question, until it listens again."""
    plaintext, _ = await tokens.create(engine, "agent", "ingest")
    assert await gate.verify(plaintext) is not None
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'otel-ingest tokens' AND datname = current_database()"
        )
    await until(lambda: not gate._listening)
    asked = Asked(engine)
    assert await gate.verify(plaintext) is not None
    assert await gate.verify(plaintext) is not None
    assert asked.count == 2
    await until(lambda: gate._listening)


async def test_a_flood_of_guesses_is_bounded(gate: TokenGate, engine: AsyncEngine) -> None:
    """Guesses fill a memory of their own; what cannot be a token is no question; who was let in stays."""
    plaintext, _ = await tokens.create(engine, "agent", "ingest")
    await until(lambda: gate._generation >= 2)
    assert await gate.verify(plaintext) is not None
    asked = Asked(engine)
    for text in ("", "x" * 1_000_000, "oti_read_short", f"oti_read_{'x' * 44}", f"oti_read_{'ä' * 43}", "oti_\0"):
        assert await gate.verify(text) is None
    assert asked.count == 0
    token_gate.UNKNOWN_MAX, limit = 50, token_gate.UNKNOWN_MAX
    try:
        for n in range(300):
            assert await gate.verify(f"oti_ingest_{n:043d}") is None
        assert len(gate._unknown) == 50
        count = asked.count
        assert await gate.verify(f"oti_ingest_{299:043d}") is None
        assert await gate.verify(plaintext) is not None
        assert asked.count == count
    finally:
        token_gate.UNKNOWN_MAX = limit


async def test_more_questions_than_can_be_answered_are_refused(gate: TokenGate) -> None:
    """Past two hundred waiting: a retryable error at once."""
    async with gate._turn:
        waiting = [asyncio.create_task(gate.verify(f"oti_ingest_{n:043d}")) for n in range(200)]
        await asyncio.sleep(0.01)
        with pytest.raises(RetryableStoreError):
            await gate.verify(f"oti_ingest_{999:043d}")
    assert await asyncio.gather(*waiting) == [None] * 200


async def test_while_the_store_is_away_what_was_known_counts(engine: AsyncEngine, database_url: str) -> None:
    """Known tokens pass without a question, unknown ones are an error that says to come back; a token's end holds."""
    away = False
    gate = TokenGate(engine, StorageConfig(database_url), lambda: away)
    plaintext, _ = await tokens.create(engine, "agent", "ingest")
    short, _ = await tokens.create(engine, "short", "ingest", datetime.now(UTC) + timedelta(seconds=0.5))
    assert await gate.verify(plaintext) is not None
    assert await gate.verify(short) is not None
    await engine.dispose()

    away = True
    asked = Asked(engine)
    assert await gate.verify(plaintext) is not None
    assert asked.count == 0
    digest = hashlib.sha256(short.encode()).digest()
    await until(lambda: gate._last_known(digest) is None)

    real, tokens.find = tokens.find, unreachable
    try:
        away = False
        assert await gate.verify(plaintext) is not None
        with pytest.raises(RetryableStoreError):
            await gate.verify(f"oti_ingest_{'0' * 43}")
    finally:
        tokens.find = real


async def unreachable(_engine: AsyncEngine, _plaintext: str) -> object:
    """Fail as a store that is away does."""
    raise RetryableStoreError("away")
