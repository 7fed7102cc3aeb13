"""One request for a view, and what a view answers: data, from which both the page and its JSON are made."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mcp_tools.answers import Answer
from mcp_tools.dispatch import call
from mcp_tools.errors import UserInputError
from mcp_tools.page.session import Sessions, Visitor
from mcp_tools.page.state import Here
from storage.control import Control
from storage.reader import Reader

Metrics = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: who asks, when (ns since 1970), for which state, and what can be asked."""

    reader: Reader
    control: Control
    metrics: Metrics
    visitor: Visitor
    here: Here
    now_ns: int
    path_params: Mapping[str, str] = field(default_factory=dict)
    enough: bool = False
    """Whether the page alone is wanted: what takes long may be left for the page to fetch."""

    async def call(self, tool: str, arguments: dict[str, Any], role: str = "read") -> Answer:
        """Ask a tool as this visitor, with the token that has ``role``. Raises UserInputError."""
        token = self.visitor.token_for(role) or self.visitor.tokens[0]
        return await call(
            self.reader, token.role, tool, arguments, caller=f"{token.id}:{token.name}", control=self.control
        )

    def param(self, name: str) -> str | None:
        """Return a parameter of the URL; None where it is missing or empty."""
        return self.here.params.get(name, "").strip() or None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a view found: ``data`` is its JSON, and what its template draws; ``more`` is for the template alone."""

    template: str
    title: str
    data: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    error: UserInputError | None = None
    """What was wrong with the question, shown where it was asked."""


Stream = Callable[[Visit, Request, Sessions], Awaitable[Response]]
View = Callable[[Visit], Awaitable[Shown]]
Change = Callable[[Visit, dict[str, str]], Awaitable[Shown]]
"""What a form does, with its fields. Raises UserInputError."""
