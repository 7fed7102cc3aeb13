"""MCP over standard input and output, for an agent on this machine; its role is fixed when it starts."""

from importlib.metadata import version

from mcp_tools.server import QueryServer, Who
from storage.reader import Reader


async def run_stdio(reader: Reader, role: str = "read") -> None:
    """Serve until the client closes standard input."""
    await QueryServer(reader, lambda: Who(role, "stdio"), version("otel-ingest")).run_stdio_async()
