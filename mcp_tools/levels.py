"""logger_set_level and logger_get_levels: the level of a component's loggers, for a limited time, with proof."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.answers import Answer, Arguments, Asked, check_component
from mcp_tools.errors import UserInputError
from storage.control import Control
from storage.level_config import LEVELS, ROOT_LOGGER, NewOverride, configuration_hash
from storage.reader import Reader
from storage.views import AgentState, LevelOverride

TTL_S_MAX = 24 * 3600
# A process whose poll is held by a receiver learns of a change within half a second, one that logs with its next batch.
ACKNOWLEDGE_WAIT_S = 6.0
_ACKNOWLEDGE_LOOK_S = 0.1
_DEFAULT = "DEFAULT"
_SHOWN_MAX = 50
_NOBODY = (
    "no running process of it takes levels from here (that needs otel-ingest-instrumentation); one that starts before "
    "the end will have it"
)


class SetLevelArguments(Arguments):
    """Arguments of logger_set_level."""

    component: str = Field(min_length=1, max_length=512, description="service.name, or namespace/name")
    level: str = Field(description="trace, debug, info, warn, error, fatal; default ends what was set")
    ttl: str | None = Field(None, description='How long, for example "15m"; 24h at most. Needed unless level=default')
    reason: str = Field(min_length=3, max_length=500, description="Why; it stands in the audit log")
    logger: str = Field(ROOT_LOGGER, min_length=1, max_length=200, description="A logger and all below; * is every one")


class GetLevelsArguments(Arguments):
    """Arguments of logger_get_levels."""

    component: str | None = Field(None, description="service.name, or namespace/name; none: all that have any")


async def logger_set_level(reader: Reader, args: SetLevelArguments, asked: Asked) -> Answer:
    """Put a level in force in every running process of a component, and tell how many have it."""
    control = _control(asked)
    level = _level(args.level)
    ttl_s = _ttl_s(args.ttl, level)
    before = await control.active_levels(args.component)
    agents = await control.running_agents(args.component)
    if not agents:  # a process may have asked for levels before it ever logged
        await check_component(reader, args.component)
    given = args.model_dump(exclude={"max_tokens"})
    if level == _DEFAULT:
        which = None if args.logger == ROOT_LOGGER else args.logger
        ended = await control.end_levels(args.component, which, asked.caller, asked.role, given)
        what = f"{ended} levels of {_named(args)} ended"
    else:
        new = NewOverride(
            component=args.component,
            logger=args.logger,
            level=level,
            ttl_s=ttl_s,
            reason=args.reason,
            set_by=asked.caller,
        )
        override = await control.set_level(new, asked.role, given)
        what = f"{_named(args)} is at {level} until {render.time_of(override.expires_at_ns)}, then falls back by itself"
    return await _acknowledged(control, args, what, before)


async def logger_get_levels(reader: Reader, args: GetLevelsArguments, asked: Asked) -> Answer:
    """Return the levels in force, since when, until when, by whom and why, and which processes have them."""
    control = _control(asked)
    if args.component is not None and not await control.running_agents(args.component):
        await check_component(reader, args.component)
    overrides = await control.active_levels(args.component)
    agents = await control.running_agents(args.component)
    lines = [_override_line(o, asked.now_ns) for o in overrides]
    lines += [_agent_line(a, overrides) for a in agents]
    kept = render.fit(lines, args.max_tokens)
    out = [f"left out: {len(lines) - len(kept)} lines (raise max_tokens, or name a component)"]
    summary = f"{len(overrides)} levels in force, {len(agents)} processes take levels from here"
    text = "\n".join(
        [summary, *(out if len(kept) < len(lines) else []), *([render.FENCE, *kept, render.FENCE_END] if kept else [])]
    )
    shown = kept[: len(overrides)]
    data = {
        "summary": summary,
        "overrides": [_override_data(o, asked.now_ns) for o in overrides[: len(shown)]],
        "processes": [_agent_data(a, overrides) for a in agents[: len(kept) - len(shown)]],
        "truncated": len(kept) < len(lines),
        "untrusted_data": True,
    }
    return Answer(text, data, found=bool(lines))


async def _acknowledged(
    control: Control, args: SetLevelArguments, what: str, before: Sequence[LevelOverride]
) -> Answer:
    """Wait for the running processes to say that they took it; return the answer with their number."""
    overrides = await control.active_levels(args.component)
    wanted = configuration_hash(overrides)
    agents: list[AgentState] = []
    waits = int(ACKNOWLEDGE_WAIT_S / _ACKNOWLEDGE_LOOK_S)
    for _ in range(waits):
        agents = await control.running_agents(args.component)
        # Nothing was ever set for a process that has no hash: nothing is what it has.
        if all(a.config_hash == wanted and a.config_status in {"applied", "failed"} for a in agents):
            break
        await asyncio.sleep(_ACKNOWLEDGE_LOOK_S)
    applied = [a for a in agents if a.config_hash == wanted and a.config_status == "applied"]
    failed = [a for a in agents if a.config_hash == wanted and a.config_status == "failed"]
    hints = _hints(agents, applied, failed)
    previous = [_override_data(o, 0) for o in before if o.logger == args.logger]
    text = "\n".join([f"{what}; applied by {len(applied)} of {len(agents)}", *hints])
    data = {
        "summary": f"{what}; applied by {len(applied)} of {len(agents)}",
        "component": args.component,
        "logger": args.logger,
        "applied": len(applied),
        "processes": len(agents),
        "failed": [{"process": _process(a), "error": render.clean(a.config_error, 200)} for a in failed[:_SHOWN_MAX]],
        "in_force": [_override_data(o, 0) for o in overrides],
        "previous": previous,
        "hints": hints,
        "untrusted_data": True,
    }
    return Answer(text, data)


def _hints(agents: Sequence[AgentState], applied: Sequence[AgentState], failed: Sequence[AgentState]) -> list[str]:
    if not agents:
        return [_NOBODY]
    hints = [f"failed in {_process(a)}: {render.clean(a.config_error, 200)}" for a in failed[:3]]
    waiting = len(agents) - len(applied) - len(failed)
    if waiting:
        hints.append(f"{waiting} did not answer within {ACKNOWLEDGE_WAIT_S:.0f} s; one that only polls asks every 30 s")
    return hints


def _control(asked: Asked) -> Control:
    if asked.control is None:
        raise UserInputError("READ_ONLY", "levels are not to be had through this door, which only reads; use HTTP")
    return asked.control


def _level(text: str) -> str:
    level = text.strip().upper()
    level = {"WARNING": "WARN", "CRITICAL": "FATAL"}.get(level, level)
    if level not in {*LEVELS, _DEFAULT}:
        names = ", ".join(name.lower() for name in LEVELS)
        raise UserInputError("INVALID_LEVEL", f"level={text[:60]!r}; one of {names}, or default to end what was set")
    return level


def _ttl_s(ttl: str | None, level: str) -> float:
    if level == _DEFAULT:
        return 0
    if ttl is None:
        raise UserInputError("INVALID_ARGUMENT", 'ttl is needed: a level is raised for a limited time, as in ttl="15m"')
    seconds = read.duration_ns(ttl, "ttl") / read.NS
    if not 1 <= seconds <= TTL_S_MAX:
        raise UserInputError("INVALID_DURATION", f'ttl={ttl[:60]!r} must be 1s to 24h, for example "15m"')
    return seconds


def _named(args: SetLevelArguments) -> str:
    which = "every logger" if args.logger == ROOT_LOGGER else f"logger {render.clean(args.logger, 200)}"
    return f"{which} of {render.clean(args.component, 120)}"


def _process(agent: AgentState) -> str:
    host, pid = agent.description.get("host.name", "?"), agent.description.get("process.pid", "?")
    return render.clean(f"{host}:{pid}", 120)


def _override_line(override: LevelOverride, now_ns: int) -> str:
    left = render.duration(max(0, override.expires_at_ns - now_ns))
    which = f"{render.clean(override.component, 120)} {render.clean(override.logger, 200)}"
    return (
        f"{which} {override.level} for {left} more, set by {render.clean(override.set_by, 120)} at "
        f"{render.time_of(override.set_at_ns)}: {render.clean(override.reason, 300)}"
    )


def _override_data(override: LevelOverride, now_ns: int) -> dict[str, Any]:
    data = asdict(override) | {
        "set_at": render.time_of(override.set_at_ns),
        "expires_at": render.time_of(override.expires_at_ns),
    }
    return data | ({"remaining_s": max(0, override.expires_at_ns - now_ns) / read.NS} if now_ns else {})


def _agent_line(agent: AgentState, overrides: Sequence[LevelOverride]) -> str:
    language = render.clean(str(agent.description.get("telemetry.sdk.language", "?")), 40)
    return f"process {_process(agent)} of {render.clean(agent.component, 120)} ({language}): {_state(agent, overrides)}"


def _agent_data(agent: AgentState, overrides: Sequence[LevelOverride]) -> dict[str, Any]:
    return {
        "process": _process(agent),
        "component": render.clean(agent.component, 120),
        "state": _state(agent, overrides),
        "last_seen": render.time_of(agent.last_seen_ns),
        "effective": agent.effective,
    }


def _state(agent: AgentState, overrides: Sequence[LevelOverride]) -> str:
    """Return whether a process has what is in force for its component."""
    wanted = configuration_hash(o for o in overrides if o.component == agent.component)
    if agent.config_hash == wanted or (not agent.config_hash and wanted == configuration_hash([])):
        return f"failed: {render.clean(agent.config_error, 200)}" if agent.config_status == "failed" else "up to date"
    return "not up to date yet"
