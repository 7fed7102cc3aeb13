"""Writes docs/settings.md and docs/tools.md from the code itself. A test checks that they are current."""

from pathlib import Path
from typing import Any

from mcp_tools.server import input_schema
from mcp_tools.tools import TOOLS
from otel_ingest.config import Settings

_WHERE = "; off unless `OTEL_INGEST_SQL_TOOL=true`, never over stdio: docs/security.md"


def settings_page() -> str:
    """Return the page."""
    lines = [
        "# Settings",
        "",
        "In this order: command-line flags, `OTEL_INGEST_*` variables, `otel-ingest.toml` in the working directory",
        "(keys without the prefix, in lower case), the defaults. This page is made by `python -m docs.generate`.",
        "",
        "| variable | default | what it is |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        lines.append(f"| `OTEL_INGEST_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def tools_page() -> str:
    """Return the page of the tools and their arguments, as agents read them."""
    lines = [
        "# Tools",
        "",
        "What MCP clients see. The JSON API (`/api/v1/...`) and the terminal call the same functions with the same",
        "arguments. An answer comes as text and as data with the same facts, keeps to `max_tokens`, and counts what it",
        "leaves out: returned + left out = matched. This page is made by `python -m docs.generate`.",
    ]
    for name, tool in TOOLS.items():
        schema = input_schema(tool)
        lines += [
            "",
            f"## {name}",
            "",
            f"{tool.description} (role: {tool.role}{_WHERE if tool.optional else ''})",
            "",
            "| argument | type | what it is |",
        ]
        lines += ["|---|---|---|"]
        lines += [
            f"| `{argument}`{' (needed)' if argument in schema.get('required', ()) else ''} | {_type(entry, schema)} "
            f"| {_cell(entry)} |"
            for argument, entry in schema["properties"].items()
        ]
        if tool.arguments.unlisted:
            taken = ", ".join(f"`{n}`" for n in tool.arguments.model_fields if n in tool.arguments.unlisted)
            lines += ["", f"Also taken, though not listed to agents: {taken}."]
    return "\n".join(lines) + "\n"


def _type(entry: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in entry:
        inner = schema["$defs"][entry["$ref"].rpartition("/")[2]]["properties"]
        return "{" + ", ".join(inner) + "}"
    if "anyOf" in entry:
        return " or ".join(_type(choice, schema) for choice in entry["anyOf"])
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if entry.get("type") == "array":
        return f"list of {_type(entry.get('items', {}), schema)}"
    return str(entry.get("type", "any"))


def _cell(entry: dict[str, Any]) -> str:
    said = str(entry.get("description", "")).replace("|", "\\|")
    default = entry.get("default")
    return f"{said} [`{default}`]".strip() if default not in (None, [], {}, "") else said


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings_page())
    Path(__file__).with_name("tools.md").write_text(tools_page())
