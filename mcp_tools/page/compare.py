"""Two traces beside each other: which calls came, went, failed or took longer."""

from mcp_tools.page.visit import Shown, Visit

_TOKENS = 20_000


async def view(visit: Visit) -> Shown:
    """Return what differs between the traces a and b. Raises UserInputError."""
    given = {"kind": "traces", "a": visit.param("a") or "", "b": visit.param("b") or "", "max_tokens": _TOKENS}
    data = (await visit.call("logger_diff", given)).data
    slowest = max((c["total_ms"] for d in data["differences"] for c in (d["a"], d["b"]) if c), default=1.0)
    return Shown("compare.html", "Two traces", data, {"a": given["a"], "b": given["b"], "slowest_ms": slowest or 1.0})
