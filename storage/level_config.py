"""PURE: the words of levels while running (docs/opamp.md): what is set, what is reported, the hash both compare."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from storage.views import LevelOverride

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
ROOT_LOGGER = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOverride:
    """A level to set: for the loggers of a component, for ``ttl_s`` seconds."""

    component: str
    logger: str
    level: str
    ttl_s: float
    reason: str
    set_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """What one OpAMP message says of its agent; None: it says nothing of that, what is stored stays."""

    instance_uid: bytes
    component: str | None = None
    description: dict[str, Any] | None = None
    config_hash: bytes | None = None
    config_status: int = 0
    config_error: str = ""
    effective: list[dict[str, Any]] | None = None
    ends: bool = False


def configuration_hash(overrides: Iterable[LevelOverride]) -> bytes:
    """PURE: return the hash of one component's configuration: 8 bytes over id, name, level and end of each."""
    parts = sorted((o.id, o.logger, o.level, o.expires_at_ns) for o in overrides)
    return hashlib.sha256(repr(parts).encode()).digest()[:8]


def by_component(overrides: Iterable[LevelOverride]) -> dict[str, list[LevelOverride]]:
    """PURE: return the overrides of each component that has any."""
    grouped: dict[str, list[LevelOverride]] = {}
    for override in overrides:
        grouped.setdefault(override.component, []).append(override)
    return grouped
