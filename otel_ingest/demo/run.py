"""Runs the demo."""


async def run(*, http_endpoint: str, query_url: str, read_token: str) -> int:
    """Return the exit code."""
    raise NotImplementedError
