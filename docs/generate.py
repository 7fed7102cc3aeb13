"""Writes docs/settings.md from the settings themselves; ``make docs``. A test checks that it is current."""

from pathlib import Path

from otel_ingest.config import Settings


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


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings_page())
