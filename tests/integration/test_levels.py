"""Levels in force on real PostgreSQL: set, replaced, ended, acknowledged, written down."""

import asyncio
import json
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry._opamp.proto import opamp_pb2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools import levels as tools
from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from otel_ingest.levels import LevelConfigurations
from otel_ingest.opamp import _CAPABILITIES, OpampServer
from storage import levels
from storage.control import Control
from storage.errors import RetryableStoreError
from storage.level_config import NewOverride, configuration_hash
from storage.reader import Reader
from storage.sink import PostgresSink
from storage.views import LevelOverride
from tests.factories import batch_of, log_row
from tests.harness import until

ASK = {"component": "shop", "level": "debug", "ttl": "15m", "reason": "why is it slow"}


class Agent:
    """A process that takes its levels from the server, as an OpAMP client does."""

    def __init__(self, server: OpampServer, component: str = "shop") -> None:
        self._server = server
        self._component = component
        self.uid = uuid4().bytes
        self.loggers: list[dict[str, Any]] = []
        self.flags = 0

    async def poll(self, *, describe: bool = False, disconnect: bool = False) -> opamp_pb2.ServerToAgent:
        """Send one message; take and acknowledge what is answered."""
        message = opamp_pb2.AgentToServer(instance_uid=self.uid)
        if describe:
            for key, value in (("service.name", self._component), ("host.name", "box"), ("process.pid", "7")):
                pair = message.agent_description.identifying_attributes.add(key=key)
                pair.value.string_value = value
        if disconnect:
            message.agent_disconnect.SetInParent()
        answer = await self._exchange(message)
        if answer.HasField("remote_config"):
            self.loggers = json.loads(answer.remote_config.config.config_map["log_levels"].body)["loggers"]
            await self.acknowledge(answer.remote_config.config_hash)
        return answer

    async def acknowledge(self, config_hash: bytes, error: str = "") -> None:
        """Say that a configuration was applied, or why not."""
        message = opamp_pb2.AgentToServer(instance_uid=self.uid)
        message.remote_config_status.last_remote_config_hash = config_hash
        message.remote_config_status.status = 3 if error else 1
        message.remote_config_status.error_message = error
        body = json.dumps({"loggers": [{"name": "shop", "level": "DEBUG", "remaining_s": 3.5}]}).encode()
        message.effective_config.config_map.config_map["log_levels"].body = body
        await self._exchange(message)

    def plain(self) -> bytes:
        """Return a poll that brings nothing."""
        return bytes(opamp_pb2.AgentToServer(instance_uid=self.uid).SerializeToString())

    async def _exchange(self, message: opamp_pb2.AgentToServer) -> opamp_pb2.ServerToAgent:
        answer = opamp_pb2.ServerToAgent()
        answer.ParseFromString((await self._server.exchange(message.SerializeToString())).body)
        assert answer.instance_uid == self.uid
        assert answer.capabilities == _CAPABILITIES
        self.flags = answer.flags
        return answer


class Rig:
    """The OpAMP server and the tools over one store."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.control = Control(engine)
        self.configurations = LevelConfigurations(partial(levels.active, engine))
        self.server = OpampServer(partial(levels.note_agents, engine), self.configurations)

    async def tool(self, name: str, arguments: dict[str, Any], role: str = "control") -> Answer:
        """Call a tool as a token of ``role``."""
        return await call(Reader(self.engine), role, name, arguments, caller="1:ann", control=self.control)

    async def set_level(self, **arguments: Any) -> Answer:
        """Set a level of shop."""
        return await self.tool("logger_set_level", ASK | arguments)


@pytest.fixture
def rig(engine: AsyncEngine) -> Rig:
    """Return both sides over a fresh database."""
    return Rig(engine)


async def test_a_level_reaches_every_process_and_is_acknowledged(rig: Rig) -> None:
    """Three processes poll; the tool answers once all of them applied it, and says so."""
    agents = [Agent(rig.server) for _ in range(3)]
    for agent in agents:
        await agent.poll(describe=True)
        assert agent.loggers == []

    async def poll_soon() -> None:
        await until(partial(levels.active, rig.engine))
        for agent in agents:
            await agent.poll()

    answer, _ = await asyncio.gather(rig.set_level(), poll_soon())

    assert answer.data["applied"] == answer.data["processes"] == 3
    assert "applied by 3 of 3" in answer.text
    assert [(e["name"], e["level"]) for e in agents[0].loggers] == [("*", "DEBUG")]
    assert 890 < agents[0].loggers[0]["expires_in_s"] <= 900
    shown = await rig.tool("logger_get_levels", {"component": "shop"}, "read")
    assert [p["state"] for p in shown.data["processes"]] == ["up to date"] * 3
    assert shown.data["processes"][0]["effective"] == [{"name": "shop", "level": "DEBUG", "remaining_s": 3.5}]
    assert shown.data["overrides"][0]["set_by"] == "1:ann"


async def test_a_second_poll_gets_nothing_new(rig: Rig) -> None:
    """The configuration is answered until it is acknowledged, then no more; other components get none of it."""
    agent, other = Agent(rig.server), Agent(rig.server, "other")
    await levels_set(rig)

    first = await agent.poll(describe=True)
    second = await agent.poll()

    assert first.HasField("remote_config")
    assert not second.HasField("remote_config")
    assert not (await other.poll(describe=True)).HasField("remote_config")


async def levels_set(rig: Rig, **changes: Any) -> LevelOverride:
    """Set a level without waiting for anybody."""
    values = {"component": "shop", "logger": "*", "level": "DEBUG", "ttl_s": 60, "reason": "test", "set_by": "1:ann"}
    return await rig.control.set_level(NewOverride(**(values | changes)), "control", {})


async def nothing_in_force(rig: Rig) -> bool:
    """Whether every level is over."""
    return not await levels.active(rig.engine)


async def hash_is(rig: Rig, expected: str, *, equal: bool) -> bool:
    """Whether the hash for shop is (or is not) ``expected``."""
    return (rig.configurations.hash_of("shop") == expected) is equal


async def test_a_process_nobody_knows_is_asked_who_it_is(rig: Rig) -> None:
    """A receiver that never heard of an agent asks for its full state, and serves it after that."""
    agent = Agent(rig.server)

    await agent.poll()
    assert agent.flags == opamp_pb2.ServerToAgentFlags_ReportFullState
    await agent.poll(describe=True)

    assert agent.flags == 0


async def test_the_same_loggers_have_one_level(rig: Rig) -> None:
    """A new level for the same loggers replaces the former one; another logger has its own beside it."""
    await levels_set(rig)
    await levels_set(rig, level="TRACE")
    await levels_set(rig, logger="shop.orders")

    active = await levels.active(rig.engine, "shop")

    assert [(o.logger, o.level) for o in active] == [("*", "TRACE"), ("shop.orders", "DEBUG")]


async def test_a_level_ends_by_itself(rig: Rig) -> None:
    """After its ttl it is in force no more, nobody has to do anything, and the hash is that of nothing."""
    agent = Agent(rig.server)
    await levels_set(rig, ttl_s=0.3)
    await agent.poll(describe=True)
    assert agent.loggers

    await until(partial(nothing_in_force, rig))
    await agent.poll()

    assert agent.loggers == []


async def test_default_ends_it_now(rig: Rig) -> None:
    """level=default ends what was set, and says how many; no ttl is needed."""
    await levels_set(rig)
    await levels_set(rig, logger="shop.orders")
    agent = Agent(rig.server)
    await agent.poll(describe=True)

    answer = await rig.set_level(level="default", ttl=None, logger="shop.orders")

    assert "1 levels" in answer.text
    assert [o.logger for o in await levels.active(rig.engine)] == ["*"]


async def test_a_process_that_fails_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says which process could not apply it, and why."""
    monkeypatch.setattr(tools, "ACKNOWLEDGE_WAIT_S", 10.0)
    agent = Agent(rig.server)
    await agent.poll(describe=True)

    async def refuse() -> None:
        active = await until(partial(levels.active, rig.engine))
        await agent.acknowledge(configuration_hash(active), "no such logger")

    answer, _ = await asyncio.gather(rig.set_level(), refuse())

    assert answer.data["applied"] == 0
    assert answer.data["failed"] == [{"process": "box:7", "error": "no such logger"}]
    assert "failed in box:7: no such logger" in answer.text


async def test_who_never_logged_and_is_gone_is_unknown(rig: Rig) -> None:
    """A component whose only process ended and that never logged is unknown, as it is to every other tool."""
    agent = Agent(rig.server)
    await agent.poll(describe=True)
    await agent.poll(disconnect=True)

    with pytest.raises(UserInputError, match='UNKNOWN_COMPONENT: no component "shop"'):
        await rig.set_level()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"level": "loud"}, "INVALID_LEVEL"),
        ({"ttl": None}, "INVALID_ARGUMENT"),
        ({"ttl": "25h"}, "INVALID_DURATION"),
        ({"ttl": "0s"}, "INVALID_DURATION"),
        ({"reason": ""}, "INVALID_ARGUMENT"),
        ({"component": "shpo"}, "UNKNOWN_COMPONENT"),
        ({"reason": "a\x00b"}, "INVALID_ARGUMENT"),
    ],
)
async def test_what_is_refused_is_written_down(rig: Rig, arguments: dict[str, Any], code: str) -> None:
    """Nothing is set, and the audit log says who asked for what and why it was not done."""
    await Agent(rig.server).poll(describe=True)

    with pytest.raises(UserInputError) as caught:
        await rig.set_level(**arguments)

    assert caught.value.code == code
    assert await levels.active(rig.engine) == []
    (entry,) = await rig.control.audit_entries()
    assert (entry.caller, entry.role, entry.action) == ("1:ann", "control", "logger_set_level")
    assert entry.outcome.startswith(f"refused: {code}")


async def test_a_reader_may_not_and_that_is_written_down(rig: Rig) -> None:
    """The role is checked before the arguments; the attempt stands in the audit log."""
    with pytest.raises(UserInputError, match="FORBIDDEN: logger_set_level needs the role control"):
        await rig.tool("logger_set_level", {"nonsense": 1}, role="read")

    (entry,) = await rig.control.audit_entries()
    assert (entry.role, entry.arguments) == ("read", {"nonsense": 1})


async def test_an_act_and_its_entry_are_one(rig: Rig) -> None:
    """What is done stands in the audit log; where that cannot be written, nothing is done."""
    await levels_set(rig)
    (entry,) = await rig.control.audit_entries()
    assert entry.outcome == "done"

    async with rig.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (false) NOT VALID"))
    with pytest.raises(RetryableStoreError):
        await levels_set(rig, level="TRACE")

    assert [o.level for o in await levels.active(rig.engine)] == ["DEBUG"]


async def test_the_hash_of_answers_follows(rig: Rig) -> None:
    """A receiver learns of a change within its refresh, and of the end."""
    await rig.configurations.start()
    try:
        nothing = rig.configurations.hash_of("shop")
        await levels_set(rig, ttl_s=2)
        await until(partial(hash_is, rig, nothing, equal=False))
        assert rig.configurations.hash_of("other") == nothing
        await until(partial(hash_is, rig, nothing, equal=True))
    finally:
        await rig.configurations.stop()


async def test_polls_are_held_until_there_is_news(rig: Rig) -> None:
    """One that waits hears of a level and of its end; those of other components wait on, to the end of their time."""
    agent, other = Agent(rig.server), Agent(rig.server, "other")
    await rig.configurations.start()
    try:
        await agent.poll(describe=True)
        await other.poll(describe=True)
        await until(partial(held_possible, rig))
        polls = [asyncio.create_task(rig.server.exchange(a.plain(), 20.0)) for a in (agent, other)]
        override = await levels_set(rig, ttl_s=2)
        news = await polls[0]
        answer = opamp_pb2.ServerToAgent.FromString(news.body)
        assert news.held
        assert answer.remote_config.config_hash == configuration_hash([override])
        assert not polls[1].done()
        await agent.acknowledge(answer.remote_config.config_hash)
        ended = opamp_pb2.ServerToAgent.FromString((await rig.server.exchange(agent.plain(), 20.0)).body)
        assert ended.remote_config.config_hash == configuration_hash([])
        rig.configurations.release()
        nothing = await polls[1]
        assert nothing.held
        assert not opamp_pb2.ServerToAgent.FromString(nothing.body).HasField("remote_config")
        assert not (await rig.server.exchange(other.plain(), 20.0)).held, "a receiver that stops holds nothing"
    finally:
        await rig.configurations.stop()


async def held_possible(rig: Rig) -> bool:
    """Whether polls are held by now."""
    return rig.configurations.holds()


async def test_polls_past_the_bound_are_answered_at_once(engine: AsyncEngine) -> None:
    """And say so: held is false, and the agent asks again after its interval."""
    rig = Rig(engine)
    rig.configurations._held_max = 1
    first, second = Agent(rig.server), Agent(rig.server)
    await rig.configurations.start()
    try:
        for agent in (first, second):
            await agent.poll(describe=True)
        await until(partial(held_possible, rig))
        held = asyncio.create_task(rig.server.exchange(first.plain(), 20.0))
        await until(partial(nobody_more, rig))
        assert not (await rig.server.exchange(second.plain(), 20.0)).held
        held.cancel()
        await until(partial(held_possible, rig))
        assert (await rig.server.exchange(second.plain(), 0.05)).held
    finally:
        await rig.configurations.stop()


async def nobody_more(rig: Rig) -> bool:
    """Whether the bound on held polls is reached."""
    return not rig.configurations.holds()


async def test_what_is_over_is_forgotten(rig: Rig) -> None:
    """Processes and levels of 30 days ago go; the audit log stays."""
    await Agent(rig.server).poll(describe=True)
    await levels_set(rig)
    async with rig.engine.begin() as connection:
        await connection.execute(text("UPDATE agents SET last_seen = now() - interval '31 days'"))
        await connection.execute(text("UPDATE level_overrides SET expires_at = now() - interval '31 days'"))

    await levels.forget(rig.engine)

    async with rig.engine.connect() as connection:
        for table, left in (("agents", 0), ("level_overrides", 0), ("audit_log", 1)):
            count = (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()  # noqa: S608
            assert count == left


async def test_without_a_process_it_says_so(rig: Rig) -> None:
    """A component that logs without a client of ours: in force for who starts, and the answer says what is missing."""
    await PostgresSink(rig.engine).write([batch_of([log_row()])])

    answer = await rig.set_level()

    assert answer.data["processes"] == 0
    assert "needs otel-ingest-instrumentation" in answer.text
    assert len(await levels.active(rig.engine, "shop")) == 1
