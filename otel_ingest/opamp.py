"""OpAMP over HTTP (docs/opamp.md): AgentToServer bytes -> what is stored of the agent -> ServerToAgent bytes.

Parsing and answering are pure; ``OpampServer`` is the shell around them. Levels live in PostgreSQL alone: any receiver
answers any agent.
"""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry._opamp.proto import opamp_pb2  # the OpenTelemetry project's own generated messages

from otel_ingest.errors import MalformedRequest, StoreUnavailable
from otel_ingest.levels import LevelConfigurations
from storage.errors import PermanentStoreError, StoreError
from storage.level_config import AgentReport, by_component, configuration_hash
from storage.views import AgentState, LevelOverride

PATH = "/v1/opamp"
# An agent says a few hundred bytes; its effective configuration is the longest part.
BODY_BYTES_MAX = 1024 * 1024
CONFIG_KEY = "log_levels"
# A poll that brings nothing and is answered nothing waits for so long at most: proxies cut what is silent for 30 s.
WAIT_S_MAX = 25.0
_UID_BYTES = 16
_ATTRIBUTES_MAX = 64
_TEXT_CHARS_MAX = 512
_LOGGERS_MAX = 1_000
# Messages that are stored and answered together: a thousand agents that were told of one level answer at once. One
# connection to PostgreSQL is taken for them, the others are for exports and for the tool that asks how many have it.
_TOGETHER_MAX = 250
_CAPABILITIES = (
    opamp_pb2.ServerCapabilities_AcceptsStatus
    | opamp_pb2.ServerCapabilities_OffersRemoteConfig
    | opamp_pb2.ServerCapabilities_AcceptsEffectiveConfig
)

NoteAgents = Callable[[Sequence[AgentReport]], Awaitable[list[AgentState | None]]]
"""Stores reports of different agents; returns what is known of each, None of one that never described itself.

Raises StoreError.
"""
Known = tuple[AgentState | None, list[LevelOverride]]
"""An agent, and what is in force for its component."""


class Exchanged(NamedTuple):
    """The answer to a message, and whether it was held for news (the agent may then ask again at once)."""

    body: bytes
    held: bool


class OpampServer:
    """Answers polls of agents."""

    def __init__(self, note_agents: NoteAgents, configurations: LevelConfigurations) -> None:
        self._note_agents = note_agents
        self._configurations = configurations
        self._waiting: list[tuple[AgentReport, asyncio.Future[Known]]] = []
        self._storing: asyncio.Task[None] | None = None

    async def exchange(self, body: bytes, wait_s: float = 0.0) -> Exchanged:
        """Return the answer to one message, after ``wait_s`` at most where there is nothing to tell before.

        Raises MalformedRequest, StoreUnavailable.
        """
        report = parse(body)
        try:
            agent, overrides = await self._note(report)
        except StoreError as error:
            raise StoreUnavailable(f"levels cannot be read now: {error}") from error
        held = wait_s > 0 and agent is not None and not report.ends and self._configurations.holds()
        if held and agent is not None and not is_news(agent, overrides):
            news = await self._configurations.changed(agent.component, agent.config_hash, min(wait_s, WAIT_S_MAX))
            overrides = overrides if news is None else news
        return Exchanged(answer(report, agent, overrides, time.time_ns()), held)

    async def _note(self, report: AgentReport) -> Known:
        """Store a report with all that wait beside it. Raises StoreError."""
        known: asyncio.Future[Known] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, known))
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store())
        return await known

    async def _store(self) -> None:
        """Store what waits, as much at a time as came while the last was stored."""
        while taken := self._take():
            await self._store_some(taken)

    async def _store_some(self, taken: list[tuple[AgentReport, asyncio.Future[Known]]]) -> None:
        try:
            agents = await self._note_agents([report for report, _ in taken])
            overrides = by_component(await self._configurations.of_all())
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            if isinstance(error, PermanentStoreError) and len(taken) > 1:  # one that cannot be stored costs only itself
                for one in taken:
                    await self._store_some([one])
                return
            for _, known in taken:
                if not known.done():
                    known.set_exception(error)
            return
        for (_, known), agent in zip(taken, agents, strict=True):
            if not known.done():  # else its sender is gone
                known.set_result((agent, overrides.get(agent.component, []) if agent is not None else []))

    def _take(self) -> list[tuple[AgentReport, asyncio.Future[Known]]]:
        """Return what is to be stored next, one report of each agent; what its sender gave up is left out."""
        taken: dict[bytes, tuple[AgentReport, asyncio.Future[Known]]] = {}
        rest = []
        for one in self._waiting:
            if one[1].done():
                continue
            if one[0].instance_uid in taken or len(taken) >= _TOGETHER_MAX:
                rest.append(one)
            else:
                taken[one[0].instance_uid] = one
        self._waiting = rest
        return list(taken.values())


def parse(body: bytes) -> AgentReport:
    """PURE: return what a message says. Raises MalformedRequest."""
    message = opamp_pb2.AgentToServer()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise MalformedRequest(f"the body is not an OpAMP AgentToServer message: {error}") from error
    if len(message.instance_uid) != _UID_BYTES:
        raise MalformedRequest(
            f"instance_uid has {len(message.instance_uid)} bytes, must be 16 (a UUID v7)", field="instance_uid"
        )
    described = message.HasField("agent_description")
    description = _description(message.agent_description) if described else None
    status = message.remote_config_status if message.HasField("remote_config_status") else None
    return AgentReport(
        instance_uid=message.instance_uid,
        component=_component(description) if description is not None else None,
        description=description,
        config_hash=status.last_remote_config_hash[:64] if status is not None else None,
        config_status=status.status if status is not None else 0,
        config_error=_plain(status.error_message) if status is not None else "",
        effective=_effective(message.effective_config) if message.HasField("effective_config") else None,
        ends=message.HasField("agent_disconnect"),
    )


def answer(report: AgentReport, agent: AgentState | None, overrides: Sequence[LevelOverride], now_ns: int) -> bytes:
    """PURE: return the ServerToAgent: the configuration where the agent has another, or a wish to know who it is."""
    message = opamp_pb2.ServerToAgent(instance_uid=report.instance_uid, capabilities=_CAPABILITIES)
    if agent is None:
        message.flags = opamp_pb2.ServerToAgentFlags_ReportFullState
    elif not report.ends and is_news(agent, overrides):
        message.remote_config.config_hash = configuration_hash(overrides)
        file = message.remote_config.config.config_map[CONFIG_KEY]
        file.content_type = "application/json"
        file.body = configuration_json(overrides, now_ns)
    return bytes(message.SerializeToString())


def is_news(agent: AgentState, overrides: Sequence[LevelOverride]) -> bool:
    """PURE: whether an agent has another configuration than ``overrides``.

    One that never had any needs none to know that nothing is in force.
    """
    return agent.config_hash != configuration_hash(overrides) and bool(overrides or agent.config_hash)


def configuration_json(overrides: Sequence[LevelOverride], now_ns: int) -> bytes:
    """PURE: return the body of ``log_levels``; ends are relative, so that no clocks are compared."""
    loggers = [
        {
            "id": o.id,
            "name": o.logger,
            "level": o.level,
            "expires_in_s": round(max(0, o.expires_at_ns - now_ns) / 1e9, 3),
        }
        for o in overrides
    ]
    return json.dumps({"version": 1, "loggers": loggers}).encode()


def _description(description: Any) -> dict[str, Any]:
    """Return the attributes that are plain values, identifying ones last so that they win."""
    pairs = [*description.non_identifying_attributes, *description.identifying_attributes]
    return {_plain(p.key): _value(p.value) for p in pairs[-_ATTRIBUTES_MAX:]}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind in {"bool_value", "int_value"}:
        return getattr(value, kind)
    return _plain(str(getattr(value, kind))) if kind else None


def _component(description: dict[str, Any]) -> str:
    name = str(description.get("service.name") or "unknown_service")
    namespace = description.get("service.namespace")
    return (f"{namespace}/{name}" if namespace else name)[:_TEXT_CHARS_MAX]


def _effective(config: Any) -> list[dict[str, Any]]:
    """Return the levels an agent says are in force; what is not of our shape counts as none."""
    body = config.config_map.config_map[CONFIG_KEY].body if CONFIG_KEY in config.config_map.config_map else b"{}"
    try:
        loggers = json.loads(body).get("loggers", [])
    except (ValueError, AttributeError):
        return []
    if not isinstance(loggers, list):
        return []
    known = ("name", "level", "remaining_s")
    return [
        {k: _plain(v) if isinstance(v, str) else v for k, v in entry.items() if k in known and _is_scalar(v)}
        for entry in loggers[:_LOGGERS_MAX]
        if isinstance(entry, dict)
    ]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _plain(text: str) -> str:
    """Return text that PostgreSQL can hold, of bounded length."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:_TEXT_CHARS_MAX]
