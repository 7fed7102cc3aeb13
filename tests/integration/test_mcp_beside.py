"""Resources, prompts and completions of the query server, through the library's own client."""

import re

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PromptReference, ResourceTemplateReference
from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools import guides
from mcp_tools.server import INSTRUCTIONS, QueryServer, Who
from mcp_tools.tools import TOOLS
from storage.columns import SPANS
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.factories import batch_of, log_row, span_row

TRACE = "7" * 32
INSTRUCTIONS_BYTES_MAX = 1_536


@pytest.fixture
async def server(engine: AsyncEngine) -> QueryServer:
    """Return a server that holds one trace of component shop."""
    trace = bytes.fromhex(TRACE)
    await PostgresSink(engine).write([batch_of([log_row(trace_id=trace, body="paid")])])
    await PostgresSink(engine).write([batch_of([span_row(trace_id=trace)], SPANS)])
    return QueryServer(Reader(engine), lambda: Who("read", "1:tests"), "0", log_level="WARNING")


async def test_resources_are_the_answers_of_the_tools(server: QueryServer) -> None:
    """A trace in the view that is asked for, a record by its id, and what is not there by its own error."""
    async with Client(server) as client:
        trace = (await client.read_resource(f"trace://{TRACE}")).contents[0].text
        viewed = (await client.read_resource(f"trace://{TRACE}?view=logs")).contents[0].text
        identifier = re.search(r"^(\d+) ", viewed, re.MULTILINE)
        assert identifier is not None
        record = (await client.read_resource(f"log://{identifier[1]}")).contents[0].text

        assert "GET /" in trace
        assert "paid" in viewed
        assert f"log record {identifier[1]}" in record
        for uri, code in (
            (f"trace://{'8' * 32}", "TRACE|NOT_YET|EXPIRED"),
            ("log://999999", "UNKNOWN_ID"),
            ("log://x", "id"),
        ):
            with pytest.raises(MCPError, match=code) as caught:
                await client.read_resource(uri)
            assert caught.value.error.code == INVALID_PARAMS


async def test_guides_can_be_read(server: QueryServer) -> None:
    """Listed, and as they are written."""
    async with Client(server) as client:
        listed = {str(resource.uri) for resource in (await client.list_resources()).resources}

        assert listed == {f"guide://{name}" for name in guides.GUIDES}
        for name, words in guides.GUIDES.items():
            assert (await client.read_resource(f"guide://{name}")).contents[0].text == words


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("investigate_trace", {"trace_id": TRACE}, f'logger_trace(trace_id="{TRACE}")'),
        ("explain_errors", {"component": "shop", "since": "2h"}, 'since="2h", severity_min="error"'),
        ("before_after", {"at": "2026-11-24T10:00:00Z"}, 'since="2026-11-24T10:00:00Z"'),
        ("health_report", {}, 'logger_overview(since="1h")'),
    ],
)
async def test_prompts_name_tools_that_are_there(
    server: QueryServer, name: str, arguments: dict[str, str], says: str
) -> None:
    """Each has its arguments in place, and asks for no tool that the server does not have."""
    async with Client(server) as client:
        (message,) = (await client.get_prompt(name, arguments)).messages

        assert says in message.content.text
        assert set(re.findall(r"logger_\w+", message.content.text)) <= set(TOOLS)


async def test_a_prompt_with_a_wrong_argument_says_what_would_be_right(server: QueryServer) -> None:
    """As the tools do."""
    async with Client(server) as client:
        with pytest.raises(MCPError, match="must be 32 hexadecimal digits"):
            await client.get_prompt("investigate_trace", {"trace_id": "12"})
        with pytest.raises(MCPError, match="is no time; for example"):
            await client.get_prompt("health_report", {"since": "yesterday"})


async def test_completions(server: QueryServer) -> None:
    """Trace ids by their beginning, components by any part, nothing that would not show as it is."""
    async with Client(server) as client:
        trace = ResourceTemplateReference(uri="trace://{trace_id}{?view}")
        errors = PromptReference(name="explain_errors")

        async def complete(reference: object, name: str, value: str) -> list[str]:
            return (await client.complete(reference, {"name": name, "value": value})).completion.values  # type: ignore[arg-type]

        assert await complete(trace, "trace_id", "77") == [TRACE]
        assert await complete(trace, "trace_id", "8") == []
        assert await complete(trace, "trace_id", "no hex") == []
        assert await complete(errors, "component", "HO") == ["shop"]
        assert await complete(errors, "component", "x") == []


def test_what_agents_read_first_is_short_and_true() -> None:
    """Instructions within 1.5 KB; every tool that is named anywhere is in the table."""
    assert len(INSTRUCTIONS.encode()) <= INSTRUCTIONS_BYTES_MAX
    for words in (INSTRUCTIONS, *guides.GUIDES.values()):
        assert set(re.findall(r"logger_\w+", words)) <= set(TOOLS)
