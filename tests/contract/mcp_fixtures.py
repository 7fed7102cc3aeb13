"""Our own application with the conformance suite's fixtures beside our tools: whether it changes what a server answers.

Tokens, header values, disconnects, resources and prompts go the way they go in the product; only tools whose names
begin with ``test_`` are the library's.
"""

import asyncio
import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)

from mcp_tools import app as application
from mcp_tools.server import QueryServer
from storage.tokens import Token

TOKEN = "a token of the fixtures"
# One red pixel, and a tenth of a second of nothing.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0"
).decode()

# The scenarios that these fixtures are for.
SCENARIOS = (
    "tools-call-simple-text", "tools-call-image", "tools-call-audio", "tools-call-embedded-resource",
    "tools-call-mixed-content", "tools-call-error", "tools-call-with-progress", "resources-read-text",
    "resources-read-binary", "resources-templates-read", "prompts-get-simple", "prompts-get-with-args",
    "prompts-get-embedded-resource", "prompts-get-with-image",
)  # fmt: skip


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def _image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


class FixtureServer(QueryServer):
    """Our server, and what the suite looks for."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        _add_tools(self)
        _add_resources(self)
        _add_prompts(self)

    async def list_tools(self) -> Any:
        """Return our tools and those of the suite."""
        return [*await super().list_tools(), *await MCPServer.list_tools(self)]

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool of the suite as the library does."""
        if name.startswith("test_"):
            return await MCPServer.call_tool(self, name, arguments, context)
        return await super().call_tool(name, arguments, context)


def _add_tools(server: MCPServer[Any]) -> None:
    @server.tool()
    def test_simple_text() -> CallToolResult:
        return _content(TextContent(type="text", text="This is a simple text response for testing."))

    @server.tool()
    def test_image_content() -> CallToolResult:
        return _content(_image())

    @server.tool()
    def test_audio_content() -> CallToolResult:
        return _content(AudioContent(type="audio", data=WAV, mime_type="audio/wav"))

    @server.tool()
    def test_embedded_resource() -> CallToolResult:
        return _content(_embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."))

    @server.tool()
    def test_multiple_content_types() -> CallToolResult:
        text = TextContent(type="text", text="Multiple content types test:")
        data = _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
        return _content(text, _image(), data)

    @server.tool()
    def test_error_handling() -> CallToolResult:
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool()
    async def test_tool_with_progress(ctx: Context[Any, Any]) -> CallToolResult:
        for step in (0, 50, 100):
            await ctx.report_progress(step, 100)
            await asyncio.sleep(0.05)  # of the suite's own words
        return _content(TextContent(type="text", text="done"))


def _content(*blocks: Any) -> CallToolResult:
    return CallToolResult(content=list(blocks))


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt()
    def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803 - the suite's name
        text = "Please process the embedded resource above."
        return [_embedded(resourceUri, "text/plain", "Embedded resource content for testing."), text]

    @server.prompt()
    def test_prompt_with_image() -> list[Any]:
        return [_image(), "Please analyze the image above."]


async def _verify(text: str) -> Token | None:
    made = datetime.now(UTC)
    return Token(
        id=1, name="suite", role="read", created_at=made, expires_at=None, revoked_at=None, last_used_at=None
    ) if text == TOKEN else None  # fmt: skip


async def _ready() -> tuple[bool, str]:
    return True, "ready"


async def _metrics() -> bytes:
    return b""


@contextmanager
def serving() -> Iterator[str]:
    """Serve our application with the fixtures, no store behind it; yield host:port."""
    nothing: Any = None
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        original = application.QueryServer
        application.QueryServer = FixtureServer  # type: ignore[misc]
        try:
            app = application.build_query_app(nothing, nothing, _verify, f"http://{address}", _ready, _metrics, nothing)
        finally:
            application.QueryServer = original  # type: ignore[misc]
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(20)
