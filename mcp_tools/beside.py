"""What MCP has beside tools: resources, prompts and completions of the query server. Resources are the same answers."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)
from pydantic import Field

from mcp_tools import guides, render
from mcp_tools.answers import DAY_NS, Answer
from mcp_tools.errors import UserInputError
from mcp_tools.tools import TOOLS
from storage.errors import StoreError
from storage.filters import TraceQuery
from storage.reader import Reader

if TYPE_CHECKING:
    from mcp.server import MCPServer

Ask = Callable[[str, dict[str, Any]], Awaitable[Answer]]
"""(tool, arguments) -> answer, as the caller at hand. Raises UserInputError."""

_COMPLETIONS_MAX = 100  # of the protocol
_TRACES_LOOKED_AT = 1_000
_HEX_START = re.compile(r"[0-9a-f]{0,32}\Z")
_RESOURCE_TOKENS = 20_000
_NOT_THERE = frozenset(
    {"UNKNOWN_TRACE", "NOT_YET", "EXPIRED", "UNKNOWN_ID", "UNKNOWN_SPAN", "INVALID_ID", "INVALID_ARGUMENT"}
)


def add_resources(server: "MCPServer[Any]", ask: Ask) -> None:
    """Add ``trace://…``, ``log://…`` and the guides to a server."""

    @server.resource(
        "trace://{trace_id}{?view}", name="trace", title="One trace", mime_type="text/plain",
        description="One whole request by its trace id; view as in logger_trace",
    )  # fmt: skip
    async def trace(trace_id: str, view: str = "tree") -> str:
        return await _read(ask, "logger_trace", {"trace_id": trace_id, "view": view})

    @server.resource(
        "log://{id}", name="log", title="One log record", mime_type="text/plain",
        description="One log record in full by its id",
    )  # fmt: skip
    async def log(id: str) -> str:  # noqa: A002 - the URI's own word
        return await _read(ask, "logger_query", {"id": id})

    for name, words in guides.GUIDES.items():
        _add_guide(server, name, words)


def _add_guide(server: "MCPServer[Any]", name: str, words: str) -> None:
    title = words.splitlines()[0].removeprefix("# ")

    @server.resource(f"guide://{name}", name=f"guide_{name}", title=title, mime_type="text/markdown", description=title)
    def guide() -> str:
        return words


async def _read(ask: Ask, tool: str, arguments: dict[str, Any]) -> str:
    try:
        return (await ask(tool, arguments | {"max_tokens": _RESOURCE_TOKENS})).text
    except UserInputError as error:
        if error.code in _NOT_THERE:
            raise ResourceNotFoundError(str(error)) from error
        raise ResourceError(str(error)) from error


def add_prompts(server: "MCPServer[Any]") -> None:
    """Add the prompts to a server."""
    window = Annotated[str, Field(description='How far back, "1h"')]
    one = Annotated[str, Field(description="service.name, or namespace/name; none: all")]

    @server.prompt(title="Investigate a trace", description="What happened in one request, and why")
    def investigate_trace(trace_id: Annotated[str, Field(description="32 hexadecimal digits")]) -> str:
        return _prompt(lambda: guides.investigate_trace(trace_id, TOOLS))

    @server.prompt(title="Explain the errors", description="The errors of a window: kinds, causes, proof")
    def explain_errors(component: one = "", since: window = "1h") -> str:
        return _prompt(lambda: guides.explain_errors(component, since, TOOLS))

    @server.prompt(title="Before and after", description="What changed at a moment, for example a deploy")
    def before_after(at: Annotated[str, Field(description='When, "30m" or RFC 3339')], component: one = "") -> str:
        return _prompt(lambda: guides.before_after(at, component, TOOLS))

    @server.prompt(title="Health report", description="All components in a window, worst first")
    def health_report(since: window = "1h") -> str:
        return _prompt(lambda: guides.health_report(since, TOOLS))


def _prompt(make: Callable[[], str]) -> str:
    try:
        return make()
    except UserInputError as error:
        raise MCPError(code=INVALID_PARAMS, message=str(error)) from error


def add_completions(
    server: "MCPServer[Any]", reader: Reader, may_read: Callable[[], bool], now: Callable[[], int]
) -> None:
    """Add completions of ``trace_id`` and ``component``; who may not read gets none."""

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        del ref, context
        if not may_read():
            return _completion([])
        try:
            if argument.name == "trace_id":
                return _completion(await _trace_ids(reader, argument.value, now()))
            if argument.name == "component":
                return _completion(_matching(await reader.components(), argument.value))
        except StoreError:  # a courtesy: the prompt works without
            return _completion([])
        return _completion(["1h", "15m", "6h", "24h", "7d"] if argument.name in {"since", "at"} else [])


async def _trace_ids(reader: Reader, start: str, now_ns: int) -> list[str]:
    """Return the ids of the newest traces that begin so, newest first."""
    start = start.strip().lower()
    if not _HEX_START.match(start):
        return []
    page = await reader.find_traces(TraceQuery(since_ns=now_ns - DAY_NS, limit=_TRACES_LOOKED_AT))
    return [trace.trace_id for trace in page.items if trace.trace_id.startswith(start)]


def _matching(names: Sequence[str], typed: str) -> list[str]:
    """Return names that begin with what was typed, then those that hold it; none that would not show as it is."""
    wanted = typed.casefold()
    shown = [name for name in names if render.clean(name, 1_000) == name]
    begins = [name for name in shown if name.casefold().startswith(wanted)]
    return begins + [name for name in shown if wanted in name.casefold() and name not in begins]


def _completion(values: list[str]) -> Completion:
    return Completion(values=values[:_COMPLETIONS_MAX], total=len(values), has_more=len(values) > _COMPLETIONS_MAX)
