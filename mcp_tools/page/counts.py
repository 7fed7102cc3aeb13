"""How much of what: the histogram by severity and the facets of a log view; one question each, side by side."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

from mcp_tools.arguments import NS
from mcp_tools.page.facets import facet
from mcp_tools.page.histogram import LEVELS, Histogram, draw, interval_s
from mcp_tools.page.question import Question, question
from mcp_tools.page.show import stamp
from mcp_tools.page.visit import Shown, Visit
from storage.errors import QueryTimeout

_GROUPS_MAX = 1_000
_FACET_VALUES_MAX = 12


async def view(visit: Visit) -> Shown:
    """Return counts alone: what a page fetches that was sent before they were known."""
    asked = question(visit)
    found = await counts(visit, asked)
    return Shown("counts.html", "Counts", found)


async def counts(visit: Visit, asked: Question) -> dict[str, Any]:
    """Return the histogram and the facets of a question; {} in their place where counting takes too long."""
    try:
        return {"counts": await _counts(visit, asked)}
    except QueryTimeout:
        return {"counts": {"too_many": True}}


async def _counts(visit: Visit, asked: Question) -> dict[str, Any]:
    width_s = interval_s(asked.since_ns, asked.until_ns)
    query = replace(asked.query, since_ns=asked.since_ns, until_ns=asked.query.until_ns)
    over_time, by_value, attribute = await asyncio.gather(
        visit.reader.log_counts(query, ["severity"], width_s, _GROUPS_MAX),
        visit.reader.log_counts(query, ["component", "severity"], None, _GROUPS_MAX),
        facet(visit, asked),
    )
    components: Counter[str] = Counter()
    levels: Counter[str] = Counter()
    for count in by_value:
        components[count.group["component"]] += count.count
        levels[count.group["severity"].lower()] += count.count
    return {
        "total": sum(levels.values()),
        "histogram": _data(draw(over_time, asked.since_ns, asked.until_ns, width_s)),
        "levels": {name: levels[name] for name in reversed(LEVELS) if levels[name]},
        "components": dict(components.most_common(_FACET_VALUES_MAX)),
        "components_left_out": max(0, len(components) - _FACET_VALUES_MAX),
        "attribute": attribute,
    }


def _data(histogram: Histogram) -> dict[str, Any]:
    return {
        "since": stamp(histogram.since_ns),
        "until": stamp(histogram.until_ns),
        "first_ns": histogram.since_ns // (histogram.interval_s * NS) * histogram.interval_s * NS,
        "interval_s": histogram.interval_s,
        "slots": histogram.slots,
        "most": histogram.most,
        "bars": [
            {
                "start": stamp(bar.start_ns),
                "end": stamp(bar.end_ns),
                "start_ns": bar.start_ns,
                "x": bar.x,
                "total": bar.total,
                "counts": bar.counts,
                "parts": bar.parts,
            }
            for bar in histogram.bars
        ],
    }
