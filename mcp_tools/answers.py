"""What the tool functions share: the answer, the arguments every tool has, the time window, did-you-mean."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from mcp_tools import arguments as read
from mcp_tools import render
from mcp_tools.errors import UserInputError, did_you_mean
from storage.control import Control
from storage.reader import Reader

HOUR_NS = 3_600 * read.NS


DAY_NS = 24 * HOUR_NS


Attributes = dict[str, str | int | FiniteFloat | bool]


Progress = Callable[[float, float, str], Awaitable[None]]
"""(so far, in all, what is being waited for)"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer twice: as text, and as data with the same facts. ``found`` is False where nothing matched."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    found: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """When a question was asked (ns since 1970), by whom, and what may change something (None: nothing may)."""

    now_ns: int
    role: str
    caller: str = ""
    control: Control | None = None
    progress: Progress | None = None
    """Told while an answer is waited for; None where nobody listens."""


def _listed(text: str) -> Any:
    """Return what a text says as a list."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [part.strip() for part in text.split(",") if part.strip()]


class Arguments(BaseModel):
    """Base of all arguments: unknown names are refused, numbers written as text are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unlisted: ClassVar[frozenset[str]] = frozenset()
    """Arguments that are taken, and that no agent needs to read about."""

    max_tokens: int = Field(4000, ge=256, le=20_000)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        """Take a text where a list is wanted: one, several with commas between, or JSON, as some clients write."""
        if not isinstance(given, dict):
            return given
        lists = {n for n, f in cls.model_fields.items() if "list[" in str(f.annotation)}
        return {n: _listed(v) if n in lists and isinstance(v, str) else v for n, v in given.items()}

    @model_validator(mode="before")
    @classmethod
    def _no_nul(cls, given: Any) -> Any:
        """Refuse U+0000, which PostgreSQL's text cannot hold: asked there it would look like a fault of the store."""
        for name, value in given.items() if isinstance(given, dict) else ():
            words = [*value, *value.values()] if isinstance(value, dict) else [value]
            if any(isinstance(word, str) and "\x00" in word for word in words):
                raise ValueError(f"{name} contains the character U+0000; leave it out")
        return given


class Window(Arguments):
    """Arguments with a time window."""

    since: str | None = Field(None, description='"15m", RFC 3339 or epoch. Default 1h')
    until: str | None = None
    component: str | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """A time window in ns, and whether it was left to the default."""

    since_ns: int | None
    until_ns: int
    defaulted: bool

    def data(self) -> dict[str, Any]:
        """Return it for the envelope."""
        since = render.time_of(self.since_ns) if self.since_ns is not None else None
        return {"since": since, "until": render.time_of(self.until_ns), "defaulted": self.defaulted}


def bounds_of(since: str | None, until: str | None, now_ns: int, *, default_ns: int | None = HOUR_NS) -> Bounds:
    """Return the window of since and until; ``default_ns`` before its end (or all time) where since is left out."""
    end = read.time_ns(until, "until", now_ns) if until else now_ns + DAY_NS
    if since:
        start: int | None = read.time_ns(since, "since", now_ns)
        if start is not None and start >= end:
            raise UserInputError("EMPTY_WINDOW", f"since={since!r} is not before until={until or 'now'!r}")
    else:
        start = None if default_ns is None else (end if until else now_ns) - default_ns
    return Bounds(start, end, not since)


async def check_component(reader: Reader, component: str | None) -> None:
    """Raise UserInputError, with the nearest name, for a component that was never seen."""
    if component is None:
        return
    known = await reader.components()
    if component not in known:
        shown = ", ".join(render.clean(name, 60) for name in known[:10]) or "none yet"
        more = f" (+{len(known) - 10})" if len(known) > 10 else ""  # noqa: PLR2004
        raise UserInputError(
            "UNKNOWN_COMPONENT",
            f'no component "{render.clean(component, 60)}" was ever seen.{did_you_mean(component, known)} '
            f"Known: {shown}{more}.",
        )
