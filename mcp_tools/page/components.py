"""Components: what each served and logged, in which versions, at which levels; and who calls whom."""

import asyncio
from dataclasses import asdict
from typing import Any

from mcp_tools.answers import bounds_of
from mcp_tools.arguments import NS
from mcp_tools.errors import UserInputError
from mcp_tools.page.graph import draw
from mcp_tools.page.visit import Shown, Visit
from storage.errors import QueryTimeout

_VERSIONS_SHOWN = 3
_LEVEL_TOKENS = 20_000


async def view(visit: Visit) -> Shown:
    """Return all components of a window."""
    more = {"may_control": visit.visitor.may("control")}
    try:
        return Shown("components.html", "Components", await _found(visit), more)
    except QueryTimeout as error:
        problem = UserInputError("TIMEOUT", f"{error}; a shorter window helps")
    except UserInputError as error:
        problem = error
    nothing: dict[str, Any] = {"components": [], "graph": None, "overrides": [], "processes": [], "empty": False}
    return Shown("components.html", "Components", nothing | {"seconds": 1}, more, problem)


async def _found(visit: Visit) -> dict[str, Any]:
    bounds = bounds_of(visit.param("since"), visit.param("until"), visit.now_ns)
    since, until = bounds.since_ns or 0, bounds.until_ns
    reader = visit.reader
    stats, numbers, versions, calls = await asyncio.gather(
        reader.component_stats(since, until),
        reader.service_numbers(since, until),
        reader.versions(),
        reader.calls(since, until),
    )
    levels = (await visit.call("logger_get_levels", {"max_tokens": _LEVEL_TOKENS})).data
    served = {n.component: asdict(n) for n in numbers}
    overrides = levels["overrides"]
    components = [
        asdict(s)
        | {"served": served.get(s.component)}
        | {"versions": versions.get(s.component, [])[:_VERSIONS_SHOWN]}
        | {"levels": [o for o in overrides if o["component"] == s.component]}
        for s in stats
    ]
    return {
        "components": components,
        "seconds": max(1, (min(until, visit.now_ns) - since) // NS),
        "graph": asdict(draw(calls)) if calls else None,
        "overrides": overrides,
        "processes": levels["processes"],
        "empty": not components and not await reader.components(),
    }


async def set_level(visit: Visit, form: dict[str, str]) -> Shown:
    """Put a level in force as a form says, and tell what came of it. Raises UserInputError."""
    given = {name: form[name] for name in ("component", "level", "reason", "logger", "ttl") if form.get(name)}
    answer = await visit.call("logger_set_level", given, role="control")
    data = {"summary": answer.data["summary"], "hints": answer.data["hints"], "failed": answer.data["failed"]}
    return Shown("done.html", "Level", data, {"back": "/components"})
