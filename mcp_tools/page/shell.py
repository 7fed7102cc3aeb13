"""Templates and what every page has around its view. Autoescape is on for all of them; undefined names are errors."""

from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mcp_tools.page import files, show
from mcp_tools.page.state import Here, href

FOLDER = Path(__file__).parent

_environment = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "line": show.line, "block": show.block, "plain": show.plain, "value": show.value, "clock": show.clock,
    "stamp": show.stamp, "day": show.day, "took": show.took, "many": show.many, "sized": show.sized,
    "level": show.level, "span_of": show.span_of,
}  # fmt: skip

WINDOWS = ("15m", "1h", "6h", "24h", "7d")
TABS = (
    ("/logs", "Logs"),
    ("/traces", "Traces"),
    ("/components", "Components"),
    ("/patterns", "Patterns"),
    ("/operations", "Operations"),
)
_environment.globals |= {"href": href, "ago": show.ago, "file": files.url, "tabs": TABS, "windows": WINDOWS}


def page(template: str, **context: Any) -> str:
    """Return a whole page."""
    return _environment.get_template(template).render(**context)


def fragment(template: str, macro: str, *arguments: Any, here: Here) -> str:
    """Return what one macro of a template makes."""
    module = _environment.get_template(template).make_module({"here": here})
    return str(getattr(module, macro)(*arguments))


def twin(data: Any) -> bytes:
    """Return the JSON of a view; "<" is escaped, so that no browser can find markup in it whatever it takes it for."""
    return orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS).replace(b"<", b"\\u003c")
